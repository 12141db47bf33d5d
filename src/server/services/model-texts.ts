// What turns text into tokens and back for the served models: tokenizer and chat template, each read when it is first wanted
// and kept. Knows files and names; knows nothing of what is asked of a model.

import { type ChatTemplate, loadChatTemplate } from '../../formats/chat-template.ts'
import { loadTokenizer, type Tokenizer } from '../../formats/tokenizer.ts'
import { serviceError } from '../errors.ts'
import { LongTexts } from './long-texts.ts'

export interface ModelText {
  readonly tokenizer: Tokenizer
  /** Absent where the model has none. */
  readonly template: ChatTemplate | undefined
  /** Bytes of the longest token: a text has at least its bytes divided by this in tokens. */
  readonly longestToken: number
}

interface ModelFiles {
  names(): readonly string[]
  /** File name to content; null for a model that is not served. */
  files(name: string): Record<string, Uint8Array> | null
}

/** In bytes; what is longer goes to a process of its own. */
const SHORT_TEXT = 4096

export class ModelTexts {
  readonly #models: ModelFiles
  readonly #texts = new Map<string, ModelText>()
  readonly #long: LongTexts
  constructor(models: ModelFiles) {
    this.#models = models
    this.#long = new LongTexts((name) => models.files(name))
  }

  /** Throws UNKNOWN_BASE_MODEL, and FormatError for files that are no tokenizer. */
  of(name: string): ModelText {
    const known = this.#texts.get(name)
    if (known) return known
    const files = this.#models.files(name)
    if (!files) throw serviceError('UNKNOWN_BASE_MODEL', { name, models: this.#models.names() })
    const tokenizer = loadTokenizer(files, name)
    const text = { tokenizer, template: loadChatTemplate(files, name), longestToken: longestOf(tokenizer) }
    this.#texts.set(name, text)
    return text
  }

  /** The tokens of a tenant's text, which may take a while. How long it may be is the caller's to say. */
  async encode(tenant: string, name: string, text: string, addSpecialTokens: boolean): Promise<Int32Array> {
    if (Buffer.byteLength(text) > SHORT_TEXT) return this.#long.encode(tenant, { model: name, text, addSpecialTokens })
    return Int32Array.from(this.of(name).tokenizer.encode(text, { addSpecialTokens }))
  }

  async close(): Promise<void> {
    await this.#long.close()
  }
}

function longestOf(tokenizer: Tokenizer): number {
  let longest = 1
  for (let id = 0; id < tokenizer.size; id++) longest = Math.max(longest, tokenizer.tokenBytes(id).length)
  return longest
}
