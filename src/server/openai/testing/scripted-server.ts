// A server whose model says what a test wants: the embedded model's tokenizer, a chat template with a place for tools, and a
// fake engine; and OpenAI's own client for it.

import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import OpenAI from 'openai'
import type { GenerationRequest } from '../../../backends/backend.ts'
import type { FakeEngine } from '../../../backends/testing/fake-engine.ts'
import { openModelSource } from '../../../formats/model-folder.ts'
import { loadTokenizer, type Tokenizer } from '../../../formats/tokenizer.ts'
import type { ServerConfig } from '../../config.ts'
import { TestServer } from '../../testing/test-server.ts'

const TINY = join(import.meta.dirname, '../../../../models/tiny')
const END = 2

/** Shows tools and calls as JSON, as templates of models that were taught to call tools do. */
const TEMPLATE = `{% if tools %}[tools]{% for tool in tools %}{{ tool.function.name }};{% endfor %}{% endif %}{% for m in messages %}{% if m.role == 'tool' and not m.tool_call_id %}{{ raise_exception('a tool has no id.') }}\
{% endif %}<|im_start|>{{ m.role }}
{{ m.content }}{% for call in m.tool_calls or [] %}[call]{{ call.function.arguments | tojson }}{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}{% if thinking %}[think]{% endif %}`

export class ScriptedServer {
  readonly server: TestServer
  readonly tokenizer: Tokenizer
  readonly #folder = mkdtempSync(join(tmpdir(), 'twinkle-scripted-'))
  /** What sequences say, by their index; without an end the fake goes on as it likes. */
  #says: readonly (readonly number[])[] = []

  constructor(settings: Partial<ServerConfig> = {}, template: string | null = TEMPLATE) {
    cpSync(TINY, this.#folder, { recursive: true })
    const config = join(this.#folder, 'tokenizer_config.json')
    const { chat_template: _, ...rest } = JSON.parse(readFileSync(config, 'utf8'))
    writeFileSync(config, JSON.stringify(template === null ? rest : { ...rest, chat_template: template }))
    this.tokenizer = loadTokenizer(openModelSource(this.#folder).tokenizerFiles(), this.#folder)
    const models = [{ name: 'org/tiny', path: this.#folder }]
    this.server = new TestServer(
      { models, ...settings },
      {
        decode: (ids) => this.tokenizer.decode(ids),
        script: (_request: GenerationRequest, index) => this.#says[index % Math.max(1, this.#says.length)] ?? [],
      },
    )
  }

  async start(): Promise<void> {
    await this.server.start()
  }
  async stop(): Promise<void> {
    await this.server.stop()
    rmSync(this.#folder, { recursive: true })
  }

  /** From now on sequence i says text i, and ends. */
  say(...texts: readonly string[]): void {
    this.#says = texts.map((text) => [...this.encode(text), END])
  }
  /** The same without an end. */
  sayOn(...texts: readonly string[]): void {
    this.#says = texts.map((text) => this.encode(text))
  }
  encode(text: string): number[] {
    return this.tokenizer.encode(text, { addSpecialTokens: false })
  }

  get engine(): FakeEngine {
    return this.server.backend.engines.at(-1) as FakeEngine
  }

  /** What the engine was last asked to draw. */
  get lastRequest(): GenerationRequest {
    return this.engine.calls.findLast(({ op }) => op === 'generate')?.arg as GenerationRequest
  }
  /** Its prompt as text. */
  get lastPrompt(): string {
    return this.tokenizer.decode([...this.lastRequest.prompt])
  }

  client(apiKey = 'tml-anna', prefix = '/oai/api/v1'): OpenAI {
    return new OpenAI({ baseURL: `${this.server.url}${prefix}`, apiKey, maxRetries: 0 })
  }
}
