// Makes the folder of a bigram model from a text: `node make-model.mjs [FOLDER] [TEXT]`. Tokens are bytes, and three that
// begin and end things. Row t of the table has the logarithms of how often each token follows t, and where the text says
// little, of how often it comes at all. Needs Node alone. text.txt: Jane Taylor, "The Star" (1806), and Sarah Josepha Hale,
// "Mary's Lamb" (1830).

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const SPECIAL = ['<|endoftext|>', '<|im_start|>', '<|im_end|>']
const VOCABULARY = SPECIAL.length + 256
const [PAD, , END] = SPECIAL.keys()
/** How many sightings the frequency of a token alone is worth. */
const PRIOR = 4
const CHAT_TEMPLATE =
  "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"

/** The bytes that stand for themselves in byte-level tokenizers; the others are spelled from U+0100 on. */
const isVisible = (/** @type {number} */ byte) => (byte > 32 && byte < 127) || (byte > 160 && byte !== 173)
const BYTES = [...Array(256).keys()]
const ORDER = [...BYTES.filter(isVisible), ...BYTES.filter((byte) => !isVisible(byte))]

const here = fileURLToPath(new URL('.', import.meta.url))
const [folder = join(here, 'model'), text = join(here, 'text.txt')] = process.argv.slice(2)
makeModel(folder, readFileSync(text, 'utf8'))
console.log(`made ${folder}`)

/**
 * @param {string} folder
 * @param {string} text
 */
function makeModel(folder, text) {
  mkdirSync(folder, { recursive: true })
  const write = (/** @type {string} */ name, /** @type {unknown} */ content) =>
    writeFileSync(join(folder, name), `${JSON.stringify(content, null, 2)}\n`)
  write('config.json', {
    architectures: ['BigramForCausalLM'],
    model_type: 'bigram',
    vocab_size: VOCABULARY,
    max_position_embeddings: 1024,
    eos_token_id: END,
    pad_token_id: PAD,
  })
  write('tokenizer.json', tokenizer())
  write('tokenizer_config.json', {
    tokenizer_class: 'PreTrainedTokenizerFast',
    model_max_length: 1024,
    eos_token: SPECIAL[END],
    pad_token: SPECIAL[PAD],
    clean_up_tokenization_spaces: false,
    chat_template: CHAT_TEMPLATE,
  })
  writeFileSync(join(folder, 'model.safetensors'), safetensors('lm_head.weight', VOCABULARY, logits(text)))
}

/** [V, V]: log of (sightings of the pair + PRIOR p(next)) / (sightings of the first + PRIOR). @param {string} text */
function logits(text) {
  const ids = byteIds()
  const pairs = new Float64Array(VOCABULARY * VOCABULARY)
  const firsts = new Float64Array(VOCABULARY)
  const all = new Float64Array(VOCABULARY).fill(1)
  for (const verse of text.trim().split('\n\n')) {
    const tokens = [...Buffer.from(verse)].map((byte) => ids[byte])
    ;[...tokens, END].forEach((token, i) => {
      all[token]++
      if (i === 0) return
      pairs[tokens[i - 1] * VOCABULARY + token]++
      firsts[tokens[i - 1]]++
    })
  }
  const count = all.reduce((a, b) => a + b)
  return Float32Array.from(pairs, (pair, cell) => {
    const [first, next] = [Math.floor(cell / VOCABULARY), cell % VOCABULARY]
    return Math.log((pair + (PRIOR * all[next]) / count) / (firsts[first] + PRIOR))
  })
}

/** Byte-level BPE without a single merge: every byte is a token, spelled by a character that can be seen. */
function tokenizer() {
  const added = SPECIAL.map((content, id) => {
    return { id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true }
  })
  const vocab = Object.fromEntries([...SPECIAL, ...spellings()].map((token, id) => [token, id]))
  const bytes = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true }
  const bpe = { type: 'BPE', byte_fallback: false, ignore_merges: false, vocab, merges: [] }
  const steps = { normalizer: null, pre_tokenizer: bytes, post_processor: null, decoder: bytes }
  return { version: '1.0', truncation: null, padding: null, added_tokens: added, ...steps, model: bpe }
}

function spellings() {
  let other = 256
  return ORDER.map((byte) => String.fromCodePoint(isVisible(byte) ? byte : other++))
}

/** Token id of each byte. */
function byteIds() {
  const ids = new Int32Array(256)
  ORDER.forEach((byte, i) => {
    ids[byte] = SPECIAL.length + i
  })
  return ids
}

/**
 * A file with one square matrix. Format: github.com/huggingface/safetensors.
 * @param {string} name
 * @param {number} size
 * @param {Float32Array} values
 */
function safetensors(name, size, values) {
  const header = JSON.stringify({ [name]: { dtype: 'F32', shape: [size, size], data_offsets: [0, values.byteLength] } })
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(header.length))
  return Buffer.concat([length, Buffer.from(header), Buffer.from(values.buffer)])
}
