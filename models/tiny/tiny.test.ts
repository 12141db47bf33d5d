// The embedded model's folder holds together: its tokenizer reads the same in JavaScript as in transformers, its chat
// template renders, its weights are the shapes its config promises, and its README speaks of these weights and no others.
// Knows files only; whether the model answers well is check.py's matter.

import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { Template } from '@huggingface/jinja'
import { Tokenizer } from '@huggingface/tokenizers'
import { describe, expect, it } from 'vitest'

interface Message {
  role: string
  content: string
}

interface Tokenization {
  texts: { text: string; ids: number[]; decoded: string }[]
  chats: { messages: Message[]; text: string; ids: number[] }[]
}

interface TensorEntry {
  dtype: string
  shape: number[]
  data_offsets: [number, number]
}

const bytes = (name: string) => readFileSync(new URL(name, import.meta.url))
const json = (name: string) => JSON.parse(bytes(name).toString('utf8'))

const config = json('config.json')
const weights = bytes('model.safetensors')
const headerLength = Number(weights.readBigUInt64LE(0))
const { __metadata__, ...tensors } = JSON.parse(weights.toString('utf8', 8, 8 + headerLength)) as Record<
  string,
  TensorEntry
>

function expectedShapes(): Record<string, number[]> {
  const { hidden_size: hidden, intermediate_size: middle, head_dim: head } = config
  const [queries, keys] = [config.num_attention_heads * head, config.num_key_value_heads * head]
  const shapes: Record<string, number[]> = {
    'model.embed_tokens.weight': [config.vocab_size, hidden],
    'model.norm.weight': [hidden],
  }
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const parts: Record<string, number[]> = {
      input_layernorm: [hidden],
      post_attention_layernorm: [hidden],
      'self_attn.q_proj': [queries, hidden],
      'self_attn.k_proj': [keys, hidden],
      'self_attn.v_proj': [keys, hidden],
      'self_attn.o_proj': [hidden, queries],
      'mlp.gate_proj': [middle, hidden],
      'mlp.up_proj': [middle, hidden],
      'mlp.down_proj': [hidden, middle],
    }
    for (const [part, shape] of Object.entries(parts)) shapes[`model.layers.${layer}.${part}.weight`] = shape
  }
  return shapes
}

describe('the tokenizer', () => {
  const tokenizerConfig = json('tokenizer_config.json')
  const tokenizer = new Tokenizer(json('tokenizer.json'), tokenizerConfig)
  const seen = json('tokenization.json') as Tokenization

  it.each(seen.texts)('encodes and decodes $text as transformers does', ({ text, ids, decoded }) => {
    expect(tokenizer.encode(text).ids).toEqual(ids)
    expect(ids.length === 0 ? '' : tokenizer.decode(ids)).toBe(decoded)
  })

  it.each(seen.chats)('renders the chat template as transformers does: $text', ({ messages, text, ids }) => {
    const rendered = new Template(tokenizerConfig.chat_template).render({ messages, add_generation_prompt: true })
    expect(rendered).toBe(text)
    expect(tokenizer.encode(rendered).ids).toEqual(ids)
  })

  it('ends a turn with the token that generation stops at', () => {
    expect(tokenizer.encode('<|im_end|>').ids).toEqual([config.eos_token_id])
    expect(json('generation_config.json').eos_token_id).toContain(config.eos_token_id)
  })

  it('gives every id of the vocabulary a row, and no id beyond it', () => {
    const ids = Object.values(json('tokenizer.json').model.vocab)
    expect(ids.toSorted((a, b) => Number(a) - Number(b))).toEqual([...Array(config.vocab_size).keys()])
  })
})

describe('the weights', () => {
  it('are what the config promises, in float32, the head tied to the embedding', () => {
    expect(config.tie_word_embeddings).toBe(true)
    expect(Object.fromEntries(Object.entries(tensors).map(([name, { shape }]) => [name, shape]))).toEqual(
      expectedShapes(),
    )
    expect(new Set(Object.values(tensors).map(({ dtype }) => dtype))).toEqual(new Set(['F32']))
  })

  it('are finite and fill the file to its end', () => {
    const data = weights.subarray(8 + headerLength)
    const floats = new Float32Array(new Uint8Array(data).buffer)
    expect(floats.every(Number.isFinite)).toBe(true)
    expect(Math.max(...Object.values(tensors).map(({ data_offsets }) => data_offsets[1]))).toBe(data.length)
  })

  it('are small enough to ship, and cut evenly into the blocks of 64 that decoding sums in', () => {
    expect(weights.length).toBeLessThan(4 * 1024 * 1024)
    expect([config.hidden_size % 64, config.intermediate_size % 64]).toEqual([0, 0])
  })

})

describe('the README', () => {
  it.each(['model.safetensors', 'tokenizer.json'])('vouches for this %s: a pair that was trained together', (name) => {
    const digest = createHash('sha256').update(bytes(name)).digest('hex')
    expect(bytes('README.md').toString('utf8')).toContain(`| sha256 of \`${name}\` | \`${digest}\` |`)
  })
})
