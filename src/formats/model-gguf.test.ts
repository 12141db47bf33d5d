import { describe, expect, it } from 'vitest'
import { openModelSource } from './model-folder.ts'
import { F32, STRING, STRINGS, U32, writeGguf } from './testing/gguf-writer.ts'
import { tinyGgufTensors, tinyMetadata } from './testing/tiny-gguf.ts'
import { tinyTensors } from './testing/tiny-model.ts'

const open = (changes = {}, tensors = tinyGgufTensors()) => openModelSource(writeGguf(tinyMetadata(changes), tensors))

describe('a model in a GGUF file looks like the folder it was made from', () => {
  it('same tensors under Hugging Face names, rotary rows in order', () => {
    const model = open()
    expect(model.names()).toEqual([...tinyTensors().keys()].sort())
    for (const [name, { data, shape }] of tinyTensors()) {
      expect(model.tensor(name).read()).toEqual(data)
      expect(model.tensor(name).shape).toEqual(shape)
    }
  })

  it('offers no mapping for rows that had to be moved', () => {
    expect(open().tensor('model.layers.0.self_attn.q_proj.weight').location).toBeUndefined()
    expect(open().tensor('model.layers.0.self_attn.v_proj.weight').location).toBeDefined()
  })

  it('configuration, with float32 numbers as they were written in decimal', () => {
    expect(open().config).toEqual({
      family: 'llama',
      architecture: 'LlamaForCausalLM',
      hidden: 32,
      intermediate: 64,
      layers: 2,
      heads: 4,
      kvHeads: 2,
      headDim: 8,
      vocabulary: 64,
      rmsEpsilon: 1e-5,
      rope: { theta: 10000, scaling: { type: 'none' } },
      tied: true,
      qkvBias: false,
      qkNorm: false,
      maxContext: 128,
      eosTokenIds: [2],
      bosTokenId: 0,
    })
  })

  it('a turn may end with a token of its own', () => {
    expect(open({ 'tokenizer.ggml.eot_token_id': [U32, 1] }).config.eosTokenIds).toEqual([2, 1])
  })

  it('frequency divisors of Llama 3 are configuration, not weights', () => {
    const bytes = new Uint8Array(Float32Array.of(1, 1, 4, 8).buffer)
    const model = open({}, [...tinyGgufTensors(), { name: 'rope_freqs.weight', shape: [4], typeId: 0, bytes }])
    expect(model.config.rope.scaling).toEqual({ type: 'divisors', divisors: [1, 1, 4, 8] })
    expect(model.names()).toEqual(open().names())
  })
})

describe('what is not understood is refused by name', () => {
  it.each([
    [
      'architecture',
      { 'general.architecture': [STRING, 'mamba'] },
      /GGUF architecture "mamba" is not supported; supported: llama, qwen2, qwen3/,
    ],
    [
      'rope scaling',
      { 'llama.rope.scaling.type': [STRING, 'yarn'] },
      /rope scaling "yarn" is not supported; supported: none, linear/,
    ],
    ['partial rotation', { 'llama.rope.dimension_count': [U32, 4] }, /rope.dimension_count 4/],
    [
      'missing metadata',
      { 'llama.block_count': undefined },
      /metadata "llama.block_count" is missing, expected a number/,
    ],
    [
      'metadata of another kind',
      { 'llama.block_count': [STRING, '2'] },
      /metadata "llama.block_count" is 2, expected a number/,
    ],
    ['fractional size', { 'llama.block_count': [F32, 1.5] }, /expected a whole number of at least 1/],
    [
      'vocabulary and embedding that differ',
      { 'tokenizer.ggml.tokens': [STRINGS, ['a', 'b', 'c']] },
      /"model.embed_tokens.weight" has shape \[64, 32\], but the configuration says \[3, 32\]/,
    ],
  ])('%s', (_, changes, message) => {
    expect(() => open(changes)).toThrow(message)
  })

  it('a tensor it has no name for', () => {
    const expert = { name: 'blk.0.ffn_gate_exps.weight', shape: [1], typeId: 0, bytes: new Uint8Array(4) }
    expect(() => open({}, [...tinyGgufTensors(), expert])).toThrow(
      /tensor "blk.0.ffn_gate_exps.weight" is not supported/,
    )
  })

  it.each([
    ['kind', { 'tokenizer.ggml.model': [STRING, 'llama'] }, /tokenizer kind "llama" is not supported; supported: gpt2/],
    [
      'pre-tokenizer',
      { 'tokenizer.ggml.pre': [STRING, 'viking'] },
      /pre-tokenizer "viking" is not supported; supported: gpt-2, smollm/,
    ],
    ['merge', { 'tokenizer.ggml.merges': [STRINGS, ['a b c']] }, /merge "a b c" is not a pair/],
  ])('a tokenizer %s, when its files are asked for', (_, changes, message) => {
    const model = open(changes)
    expect(() => model.tokenizerFiles()).toThrow(message)
  })
})
