/**
 * Rebuilds Hugging Face tokenizer files from GGUF metadata: tokenizer.json (byte-level BPE), tokenizer_config.json with
 * the chat template, generation_config.json and a config.json, so that any Hugging Face tokenizer loads them.
 * Knows vocabularies of kind "gpt2"; SentencePiece ("llama") and others are refused by name.
 */
import { corrupt, unsupported } from './format-error.ts'
import type { GgufMetadata } from './gguf-metadata.ts'
import type { ModelConfig } from './model-config.ts'

/** GGUF token types; the others are ordinary vocabulary. */
const CONTROL = 3
const USER_DEFINED = 4

const QWEN_WORDS =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
const LLAMA3_WORDS = QWEN_WORDS.replace('|\\p{N}|', '|\\p{N}{1,3}|')

interface Splitting {
  readonly normalizer: unknown
  readonly preTokenizers: (addPrefixSpace: boolean) => unknown[]
  /** Look whole words up in the vocabulary before merging. */
  readonly ignoreMerges: boolean
  readonly addBos: boolean
}

function byteLevel(addPrefixSpace: boolean, useRegex: boolean): unknown {
  return { type: 'ByteLevel', add_prefix_space: addPrefixSpace, trim_offsets: true, use_regex: useRegex }
}

function regexSplit(pattern: string): unknown {
  return { type: 'Split', pattern: { Regex: pattern }, behavior: 'Isolated', invert: false }
}

const GPT2: Splitting = {
  normalizer: null,
  preTokenizers: (prefix) => [byteLevel(prefix, true)],
  ignoreMerges: false,
  addBos: false,
}
const DIGITS: Splitting = {
  ...GPT2,
  preTokenizers: (prefix) => [{ type: 'Digits', individual_digits: true }, byteLevel(prefix, true)],
}
const QWEN: Splitting = {
  normalizer: { type: 'NFC' },
  preTokenizers: (prefix) => [regexSplit(QWEN_WORDS), byteLevel(prefix, false)],
  ignoreMerges: false,
  addBos: false,
}
const LLAMA3: Splitting = {
  normalizer: null,
  preTokenizers: (prefix) => [regexSplit(LLAMA3_WORDS), byteLevel(prefix, false)],
  ignoreMerges: true,
  addBos: true,
}

/** By `tokenizer.ggml.pre`: how text is cut before byte pairs are merged. */
const SPLITTINGS: Readonly<Record<string, Splitting>> = {
  'gpt-2': GPT2,
  smollm: DIGITS,
  starcoder: DIGITS,
  qwen2: QWEN,
  'deepseek-r1-qwen': QWEN,
  'llama-bpe': LLAMA3,
  'llama-v3': LLAMA3,
  llama3: LLAMA3,
}

export function ggufTokenizerFiles(metadata: GgufMetadata, config: ModelConfig): Record<string, Uint8Array> {
  const special = specialTokens(metadata)
  const files: Record<string, unknown> = {
    'config.json': configJson(config, special.ids),
    'tokenizer.json': tokenizerJson(metadata),
    'tokenizer_config.json': tokenizerConfigJson(metadata, config, special.texts),
    'generation_config.json': { ...special.ids, eos_token_id: oneOrMany(config.eosTokenIds) },
  }
  const encoder = new TextEncoder()
  return Object.fromEntries(Object.entries(files).map(([name, json]) => [name, encoder.encode(JSON.stringify(json))]))
}

function tokenizerJson(metadata: GgufMetadata): unknown {
  const { file } = metadata
  const kind = metadata.text('tokenizer.ggml.model')
  if (kind !== 'gpt2') throw unsupported(file, `tokenizer kind "${kind}"`, ['gpt2 (byte-level BPE)'])
  const name = metadata.text('tokenizer.ggml.pre')
  const splitting = Object.hasOwn(SPLITTINGS, name) ? SPLITTINGS[name] : undefined
  if (!splitting) throw unsupported(file, `pre-tokenizer "${name}"`, Object.keys(SPLITTINGS))
  const tokens = metadata.texts('tokenizer.ggml.tokens')
  const prefixSpace = metadata.flag('tokenizer.ggml.add_space_prefix', false)
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: addedTokens(metadata, tokens),
    normalizer: splitting.normalizer,
    pre_tokenizer: { type: 'Sequence', pretokenizers: splitting.preTokenizers(prefixSpace) },
    post_processor: postProcessor(metadata, tokens, splitting),
    decoder: byteLevel(true, true),
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: splitting.ignoreMerges,
      vocab: vocabulary(file, tokens),
      merges: metadata.texts('tokenizer.ggml.merges').map((merge) => splitMerge(file, merge)),
    },
  }
}

function vocabulary(file: string, tokens: readonly string[]): Record<string, number> {
  const ids = new Map(tokens.map((token, id) => [token, id]))
  if (ids.size !== tokens.length) throw corrupt(file, 'tokenizer.ggml.tokens lists a token twice')
  return Object.fromEntries(ids)
}

function splitMerge(file: string, merge: string): [string, string] {
  const [left, right, ...rest] = merge.split(' ')
  if (!left || !right || rest.length > 0) throw corrupt(file, `merge ${JSON.stringify(merge)} is not a pair of tokens`)
  return [left, right]
}

function addedTokens(metadata: GgufMetadata, tokens: readonly string[]): unknown[] {
  const types = metadata.numbers('tokenizer.ggml.token_type')
  if (types.length !== tokens.length) {
    throw corrupt(metadata.file, `has ${tokens.length} tokens but ${types.length} token types`)
  }
  return tokens.flatMap((content, id) => {
    if (types[id] !== CONTROL && types[id] !== USER_DEFINED) return []
    const plain = { single_word: false, lstrip: false, rstrip: false, normalized: false }
    return [{ id, content, ...plain, special: types[id] === CONTROL }]
  })
}

function postProcessor(metadata: GgufMetadata, tokens: readonly string[], splitting: Splitting): unknown {
  if (!metadata.flag('tokenizer.ggml.add_bos_token', splitting.addBos)) return null
  const id = metadata.number('tokenizer.ggml.bos_token_id')
  const bos = tokens[id] ?? ''
  const token = { SpecialToken: { id: bos, type_id: 0 } }
  return {
    type: 'TemplateProcessing',
    single: [token, { Sequence: { id: 'A', type_id: 0 } }],
    pair: [token, { Sequence: { id: 'A', type_id: 0 } }, token, { Sequence: { id: 'B', type_id: 1 } }],
    special_tokens: { [bos]: { id: bos, ids: [id], tokens: [bos] } },
  }
}

/** The ids as config.json names them and the texts as tokenizer_config.json does, as far as the file has them. */
function specialTokens(metadata: GgufMetadata): { ids: Record<string, number>; texts: Record<string, string> } {
  const tokens = metadata.texts('tokenizer.ggml.tokens')
  const ids: Record<string, number> = {}
  const texts: Record<string, string> = {}
  for (const [short, key] of [
    ['bos', 'bos'],
    ['eos', 'eos'],
    ['pad', 'padding'],
    ['unk', 'unknown'],
  ] as const) {
    const ggufKey = `tokenizer.ggml.${key}_token_id`
    if (!metadata.has(ggufKey)) continue
    const id = metadata.number(ggufKey)
    const text = tokens[id]
    if (text === undefined) throw corrupt(metadata.file, `metadata "${ggufKey}" is ${id}, outside of the vocabulary`)
    ids[`${short}_token_id`] = id
    texts[`${short}_token`] = text
  }
  return { ids, texts }
}

function tokenizerConfigJson(metadata: GgufMetadata, config: ModelConfig, texts: Record<string, string>): unknown {
  return {
    tokenizer_class: 'PreTrainedTokenizerFast',
    add_prefix_space: metadata.flag('tokenizer.ggml.add_space_prefix', false),
    clean_up_tokenization_spaces: false,
    model_max_length: config.maxContext,
    ...texts,
    ...(metadata.has('tokenizer.chat_template') ? { chat_template: metadata.text('tokenizer.chat_template') } : {}),
  }
}

/** Enough for AutoConfig and AutoTokenizer; the engine reads the metadata itself. */
function configJson(config: ModelConfig, ids: Record<string, number>): unknown {
  return {
    architectures: [config.architecture],
    model_type: config.family,
    hidden_size: config.hidden,
    intermediate_size: config.intermediate,
    num_hidden_layers: config.layers,
    num_attention_heads: config.heads,
    num_key_value_heads: config.kvHeads,
    head_dim: config.headDim,
    vocab_size: config.vocabulary,
    max_position_embeddings: config.maxContext,
    rms_norm_eps: config.rmsEpsilon,
    rope_theta: config.rope.theta,
    ...(config.rope.scaling.type === 'linear'
      ? { rope_scaling: { rope_type: 'linear', factor: config.rope.scaling.factor } }
      : {}),
    tie_word_embeddings: config.tied,
    ...ids,
    eos_token_id: oneOrMany(config.eosTokenIds),
  }
}

function oneOrMany(ids: readonly number[]): number | readonly number[] | null {
  return ids.length > 1 ? ids : (ids[0] ?? null)
}
