import { describe, expect, it } from 'vitest'
import { parseModelConfig } from './model-config.ts'
import { LLAMA_CONFIG } from './testing/tiny-model.ts'

const parse = (changes: Record<string, unknown>, generation?: Record<string, unknown>) =>
  parseModelConfig('config.json', { ...LLAMA_CONFIG, ...changes }, generation)

const LLAMA3 = { factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 64 }
const LLAMA3_PARSED = { type: 'llama3', factor: 8, lowFrequencyFactor: 1, highFrequencyFactor: 4, originalContext: 64 }

describe('both layouts of config.json mean the same', () => {
  it('rope_theta and rope_scaling', () => {
    const config = parse({ rope_theta: 500000, rope_scaling: { rope_type: 'llama3', ...LLAMA3 } })
    expect(config.rope).toEqual({ theta: 500000, scaling: LLAMA3_PARSED })
  })

  it('rope_parameters', () => {
    const modern = { rope_theta: undefined, rope_parameters: { rope_type: 'llama3', rope_theta: 500000, ...LLAMA3 } }
    expect(parse(modern).rope).toEqual({ theta: 500000, scaling: LLAMA3_PARSED })
  })

  it('the older key "type", and linear scaling', () => {
    expect(parse({ rope_scaling: { type: 'linear', factor: 2 } }).rope.scaling).toEqual({ type: 'linear', factor: 2 })
  })
})

describe('families', () => {
  it('Qwen2 has biases on q, k, v', () => {
    const config = parse({ architectures: ['Qwen2ForCausalLM'], use_sliding_window: false, sliding_window: 4096 })
    expect(config).toMatchObject({ family: 'qwen2', qkvBias: true, qkNorm: false })
    expect(config.slidingWindow).toBeUndefined()
  })

  it('Qwen3 normalises heads of an explicit dimension', () => {
    const config = parse({ architectures: ['Qwen3ForCausalLM'], head_dim: 16 })
    expect(config).toMatchObject({ family: 'qwen3', qkvBias: false, qkNorm: true, headDim: 16 })
  })

  it('Mistral slides its window, unless it is null', () => {
    const mistral = { architectures: ['MistralForCausalLM'] }
    expect(parse({ ...mistral, sliding_window: 8 }).slidingWindow).toBe(8)
    expect(parse({ ...mistral, sliding_window: null }).slidingWindow).toBeUndefined()
  })
})

describe('end tokens', () => {
  it('come as one number, as a list, or not at all', () => {
    expect(parse({ eos_token_id: 3 }).eosTokenIds).toEqual([3])
    expect(parse({ eos_token_id: [3, 4] }).eosTokenIds).toEqual([3, 4])
    expect(parse({ eos_token_id: null, bos_token_id: null })).toMatchObject({ eosTokenIds: [] })
  })

  it('of generation_config.json win where it has any', () => {
    expect(parse({ eos_token_id: 3 }, { eos_token_id: [5, 6] }).eosTokenIds).toEqual([5, 6])
    expect(parse({ eos_token_id: 3 }, {}).eosTokenIds).toEqual([3])
  })
})

describe('what would be computed wrongly is refused by name', () => {
  it.each([
    [
      'architecture',
      { architectures: ['MambaForCausalLM'] },
      /"MambaForCausalLM" is not supported; supported: LlamaForCausalLM/,
    ],
    [
      'architecture named like a property of every object',
      { architectures: ['constructor'] },
      /"constructor" is not supported/,
    ],
    ['no architecture', { architectures: undefined }, /has no "architectures" list; supported: Llama/],
    [
      'rope type',
      { rope_scaling: { rope_type: 'yarn', factor: 4 } },
      /rope type "yarn" is not supported; supported: default, linear, llama3/,
    ],
    ['partial rotation', { partial_rotary_factor: 0.5 }, /partial_rotary_factor 0.5/],
    ['activation', { hidden_act: 'gelu' }, /hidden_act "gelu" is not supported; supported: silu/],
    ['attention bias', { attention_bias: true }, /attention_bias: true for llama/],
    ['MLP bias', { mlp_bias: true }, /mlp_bias: true/],
    ['quantised checkpoint', { quantization_config: { bits: 4 } }, /quantization_config/],
    [
      'window of some layers',
      { architectures: ['Qwen2ForCausalLM'], use_sliding_window: true },
      /use_sliding_window: true for qwen2/,
    ],
    [
      'layers of another kind',
      { architectures: ['Qwen3ForCausalLM'], layer_types: ['full_attention', 'sliding_attention'] },
      /layer_types/,
    ],
    ['missing number', { hidden_size: undefined }, /"hidden_size" is missing, expected a whole number/],
    ['number as text', { hidden_size: '32' }, /"hidden_size" is "32", expected a whole number of at least 1/],
    ['zero layers', { num_hidden_layers: 0 }, /"num_hidden_layers" is 0/],
    [
      'nested field',
      { rope_scaling: { rope_type: 'linear' } },
      /"rope_scaling.factor" is missing, expected a positive number/,
    ],
    ['heads that cannot be shared', { num_key_value_heads: 3 }, /4 attention heads cannot share 3/],
    ['odd head dimension', { head_dim: 7 }, /head dimension 7/],
    [
      'end token outside of the vocabulary',
      { eos_token_id: 64 },
      /special token 64 is outside of the vocabulary of 64/,
    ],
  ])('%s', (_, changes, message) => {
    expect(() => parse(changes)).toThrow(message)
  })
})
