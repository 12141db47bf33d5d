/**
 * What single tokens are: their text, and which of them begin a text, end one, or fill up the room behind it.
 * Knows the files of a model's tokenizer; knows nothing of training data.
 */
import { parseJsonObject } from './json-fields.ts'
import type { ModelFiles } from './model-folder.ts'
import { loadTokenizer, type Tokenizer } from './tokenizer.ts'

export interface Vocabulary {
  /** Ids below it are tokens of the model. */
  readonly size: number
  /** Ids that stand for no text of their own, with how they are written. */
  readonly special: ReadonlyMap<number, string>
  readonly ends: ReadonlySet<number>
  readonly begin: number | null
  readonly padding: number | null
  /** Special tokens as they are written; bytes that are no text of their own as `\xe2`. */
  textOf(id: number): string
  /** The whole text, special tokens included. */
  textOfAll(ids: readonly number[]): string
}

/** Throws FormatError. */
export function openVocabulary(model: ModelFiles): Vocabulary {
  const files = model.tokenizerFiles()
  const tokenizer = loadTokenizer(files, model.path)
  const config = parseJsonObject(`${model.path}/tokenizer_config.json`, files['tokenizer_config.json']!)
  const idOf = (field: string) => {
    const text = writtenAs(config[field])
    return text === undefined ? undefined : tokenizer.idOf(text)
  }
  const end = idOf('eos_token')
  return {
    size: model.config.vocabulary,
    special: new Map([...tokenizer.specialIds].map((id) => [id, textOf(tokenizer, id)])),
    ends: new Set([...model.config.eosTokenIds, ...(end === undefined ? [] : [end])]),
    begin: idOf('bos_token') ?? null,
    padding: idOf('pad_token') ?? null,
    textOf: (id) => textOf(tokenizer, id),
    textOfAll: (ids) => tokenizer.decode(ids),
  }
}

/** `"<s>"` or `{"content": "<s>"}`. */
function writtenAs(token: unknown): string | undefined {
  if (typeof token === 'string') return token
  const content = (token as { content?: unknown } | null | undefined)?.content
  return typeof content === 'string' ? content : undefined
}

/** A token as it is written; bytes that are no text of their own as `\\xe2`. */
export function textOf(tokenizer: Pick<Tokenizer, 'tokenBytes'>, id: number): string {
  const bytes = tokenizer.tokenBytes(id)
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    return [...bytes].map((byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('')
  }
}
