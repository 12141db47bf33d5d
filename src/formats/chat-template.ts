/**
 * Chat messages to prompt text, by the Jinja template that a model brings along.
 * The language is @huggingface/jinja's; this file knows where a model keeps its template and what templates are given.
 */
import { Template } from '@huggingface/jinja'
import { corrupt, missing } from './format-error.ts'
import { parseJsonObject } from './json-fields.ts'

export interface ChatMessage {
  readonly role: string
  readonly content: unknown
  readonly [field: string]: unknown
}

export interface RenderOptions {
  /** End with the opening of the assistant's turn. */
  readonly addGenerationPrompt?: boolean
  readonly tools?: readonly unknown[]
  /** Further variables some templates know, e.g. `enable_thinking`. */
  readonly variables?: Readonly<Record<string, unknown>>
}

/** The messages do not suit the template, in the template's own words. */
export class ChatTemplateError extends Error {
  override readonly name = 'ChatTemplateError'
}

export class ChatTemplate {
  private readonly template: Template
  private readonly source: string
  private readonly specialTokens: Readonly<Record<string, string>>

  constructor(source: string, specialTokens: Readonly<Record<string, string>> = {}) {
    this.template = new Template(source)
    this.source = source
    this.specialTokens = specialTokens
  }

  /** True where the template has the word: only then does it do anything with a variable or a field of that name. */
  mentions(word: string): boolean {
    return this.source.includes(word)
  }

  render(messages: readonly ChatMessage[], options: RenderOptions = {}): string {
    try {
      return this.template.render({
        ...this.specialTokens,
        ...options.variables,
        messages,
        ...(options.tools ? { tools: options.tools } : {}),
        add_generation_prompt: options.addGenerationPrompt ?? false,
      })
    } catch (cause) {
      throw new ChatTemplateError(`the chat template refuses these messages: ${(cause as Error).message}`, { cause })
    }
  }
}

/**
 * The template of a model, from `ModelFiles.tokenizerFiles()`; undefined if it has none. Throws FormatError.
 * chat_template.jinja wins over chat_template.json over tokenizer_config.json, as in transformers.
 */
export function loadChatTemplate(files: Record<string, Uint8Array>, where: string): ChatTemplate | undefined {
  const config = files['tokenizer_config.json']
  if (!config) throw missing(where, 'has no tokenizer_config.json')
  const fields = parseJsonObject(`${where}/tokenizer_config.json`, config)
  const source = templateFile(files, where) ?? templateField(where, fields.chat_template)
  if (source === undefined) return undefined
  try {
    return new ChatTemplate(source, specialTokens(fields))
  } catch (cause) {
    throw corrupt(where, `its chat template is not valid Jinja (${(cause as Error).message})`, cause)
  }
}

function templateFile(files: Record<string, Uint8Array>, where: string): string | undefined {
  const jinja = files['chat_template.jinja']
  if (jinja) return new TextDecoder().decode(jinja)
  const json = files['chat_template.json']
  return json && templateField(where, parseJsonObject(`${where}/chat_template.json`, json).chat_template)
}

/** One template, or a list of named ones of which "default" is meant. */
function templateField(where: string, field: unknown): string | undefined {
  if (field === undefined || field === null) return undefined
  if (typeof field === 'string') return field
  if (Array.isArray(field)) {
    const named = field.find((entry) => entry?.name === 'default')?.template
    if (typeof named === 'string') return named
  }
  throw corrupt(where, 'its chat_template is neither a text nor a list with a template named "default"')
}

/** `bos_token` and the like: a text, or an object with the text as `content`. */
function specialTokens(fields: Record<string, unknown>): Record<string, string> {
  const tokens: Record<string, string> = {}
  for (const name of ['bos_token', 'eos_token', 'unk_token', 'pad_token', 'sep_token', 'cls_token', 'mask_token']) {
    const value = fields[name]
    const text = typeof value === 'object' ? (value as { content?: unknown } | null)?.content : value
    if (typeof text === 'string') tokens[name] = text
  }
  return tokens
}
