// The embedded model's tokenizer and chat template, and one with thoughts and tools, for tests.

import { readFileSync } from 'node:fs'
import { ChatTemplate, loadChatTemplate } from '../../formats/chat-template.ts'
import { loadTokenizer } from '../../formats/tokenizer.ts'
import type { TemplateModel } from '../templates/index.ts'

const read = (name: string) => readFileSync(new URL(`../../../models/tiny/${name}`, import.meta.url))
const files = {
  'tokenizer.json': read('tokenizer.json'),
  'tokenizer_config.json': read('tokenizer_config.json'),
}

export const TINY: TemplateModel = {
  name: 'twinkle/tiny',
  tokenizer: loadTokenizer(files, 'models/tiny'),
  chat: loadChatTemplate(files, 'models/tiny'),
}

/** Writes thoughts in the last turn only, as Qwen 3 does, and an empty one into the prompt when there is to be none. */
export const THINKING: TemplateModel = {
  name: 'org/Qwen3.5-tiny',
  tokenizer: TINY.tokenizer,
  chat: new ChatTemplate(`{%- if tools %}<|im_start|>system
{{ tools | length }} tools<|im_end|>
{% endif -%}
{%- for m in messages -%}
<|im_start|>{{ m.role }}
{% if m.role == 'assistant' and (loop.last or m.reasoning_content) -%}
{%- if loop.last -%}
<think>
{{ m.reasoning_content }}
</think>

{% endif -%}{%- endif -%}
{{ m.content }}{% for call in m.tool_calls or [] %}<tool_call>
{{ call | tojson }}
</tool_call>{% endfor %}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant
{% if not enable_thinking -%}
<think>

</think>

{% endif -%}{%- endif -%}`),
}
