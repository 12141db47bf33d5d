/**
 * A tokenizer from Hugging Face files: text to ids, ids to text, and the bytes of single tokens.
 * The algorithms are @huggingface/tokenizers'; this file knows how to load it, and what to do with ids it has no text
 * for. Chat templates are chat-template.ts, stop strings stop-strings.ts.
 */
import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers'
import { corrupt, missing } from './format-error.ts'
import { parseJsonObject } from './json-fields.ts'
import { bytesOfToken, type Spelling, spellingOf } from './token-bytes.ts'

export class Tokenizer {
  /** Ids that stand for no text of their own, such as ends of turns. */
  readonly specialIds: ReadonlySet<number>
  /** One more than the largest id that has a text. The model's vocabulary may be larger. */
  readonly size: number
  private readonly inner: HuggingFaceTokenizer
  private readonly spelling: Spelling
  private readonly addedTexts: ReadonlyMap<number, string>
  private readonly bytes: (Uint8Array | undefined)[] = []

  /** `where` is for messages. Use `loadTokenizer`. */
  constructor(where: string, tokenizerJson: Record<string, unknown>, tokenizerConfig: Record<string, unknown>) {
    this.spelling = spellingOf(where, tokenizerJson.decoder)
    // Recent transformers leave spaces alone unless told otherwise; the library's default is the older one.
    this.inner = new HuggingFaceTokenizer(tokenizerJson, { clean_up_tokenization_spaces: false, ...tokenizerConfig })
    const added = [...this.inner.get_added_tokens_decoder()]
    this.addedTexts = new Map(added.map(([id, token]) => [id, token.content]))
    this.specialIds = new Set(added.filter(([, token]) => token.special).map(([id]) => id))
    let size = 0
    for (const id of this.inner.get_vocab().values()) size = Math.max(size, id + 1)
    this.size = size
  }

  /** With `addSpecialTokens` (the default) a start token is put first where the tokenizer's own template has one. */
  encode(text: string, options: { addSpecialTokens?: boolean } = {}): number[] {
    return this.inner.encode(text, { add_special_tokens: options.addSpecialTokens ?? true }).ids
  }

  /** Ids without a text (padding of the vocabulary) are left out. Bytes that are no valid UTF-8 become U+FFFD. */
  decode(ids: readonly number[], options: { skipSpecialTokens?: boolean } = {}): string {
    const known = ids.filter((id) => this.inner.id_to_token(id) !== undefined)
    if (known.length === 0) return ''
    return this.inner.decode(known, { skip_special_tokens: options.skipSpecialTokens ?? false })
  }

  idOf(token: string): number | undefined {
    return this.inner.token_to_id(token)
  }

  /** The bytes a token adds to the text, special tokens included; none for an id without a text. Do not modify. */
  tokenBytes(id: number): Uint8Array {
    const known = this.bytes[id]
    if (known) return known
    const bytes = this.computeBytes(id)
    this.bytes[id] = bytes
    return bytes
  }

  private computeBytes(id: number): Uint8Array {
    const added = this.addedTexts.get(id)
    if (added !== undefined) return new TextEncoder().encode(added)
    const token = this.inner.id_to_token(id)
    return token === undefined ? new Uint8Array(0) : bytesOfToken(token, this.spelling)
  }
}

/** Files as `ModelFiles.tokenizerFiles()` gives them; `where` is for messages. Throws FormatError. */
export function loadTokenizer(files: Record<string, Uint8Array>, where: string): Tokenizer {
  const json = readFile(files, where, 'tokenizer.json')
  const config = readFile(files, where, 'tokenizer_config.json')
  try {
    return new Tokenizer(`${where}/tokenizer.json`, json, config)
  } catch (cause) {
    if (cause instanceof Error && cause.name === 'FormatError') throw cause
    throw corrupt(`${where}/tokenizer.json`, `cannot be used: ${(cause as Error).message}`, cause)
  }
}

function readFile(files: Record<string, Uint8Array>, where: string, name: string): Record<string, unknown> {
  const bytes = files[name]
  if (!bytes) throw missing(where, `has no ${name}`)
  return parseJsonObject(`${where}/${name}`, bytes)
}
