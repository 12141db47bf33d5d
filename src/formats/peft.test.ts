import * as fs from 'node:fs'
import * as path from 'node:path'
import { describe, expect, it } from 'vitest'
import { parseModelConfig } from './model-config.ts'
import { openModelSource } from './model-folder.ts'
import { adaptableModules } from './model-tensors.ts'
import { loraTensorName, readPeftAdapter, writePeftAdapter } from './peft.ts'
import { openSafetensors, type TensorData, writeSafetensors } from './safetensors.ts'
import { temporaryFolder } from './testing/temporary-folder.ts'
import { LLAMA_CONFIG, writeJson } from './testing/tiny-model.ts'

const GOLDEN = path.join(import.meta.dirname, 'goldens/llama-tied')
const TINY = adaptableModules(parseModelConfig('config.json', LLAMA_CONFIG))
const Q = 'model.layers.0.self_attn.q_proj'

const ramp = (length: number, start = 0) => Float32Array.from({ length }, (_, i) => start + i / 64)

function plainAdapter(modules: readonly string[] = [Q, 'lm_head'], rank = 2) {
  const pairs = modules.map((module, n) => {
    const [out, inputs] = TINY.get(module) as readonly [number, number]
    return [module, { rank, in: inputs, out, a: ramp(rank * inputs, n), b: ramp(out * rank, -n) }] as const
  })
  return { baseModel: 'tiny', rank, alpha: 32, modules: new Map(pairs) }
}

/** A written adapter with its configuration or its tensors changed. */
function changed(config: Record<string, unknown>, tensors: (all: Map<string, TensorData>) => void = () => {}): string {
  const folder = temporaryFolder()
  writePeftAdapter(folder, plainAdapter())
  const json = JSON.parse(fs.readFileSync(path.join(folder, 'adapter_config.json'), 'utf8'))
  writeJson(folder, 'adapter_config.json', { ...json, ...config })
  const file = path.join(folder, 'adapter_model.safetensors')
  const all = new Map<string, TensorData>()
  for (const [name, tensor] of openSafetensors(file)) all.set(name, { shape: tensor.shape, data: tensor.read() })
  tensors(all)
  writeSafetensors(file, all)
  return folder
}

describe('an adapter that PEFT saved', () => {
  it('is read with names, shapes, scale and numbers', () => {
    const config = JSON.parse(fs.readFileSync(path.join(GOLDEN, 'config.json'), 'utf8'))
    const adapter = readPeftAdapter(
      path.join(GOLDEN, 'adapter'),
      adaptableModules(parseModelConfig('config.json', config)),
    )
    expect(adapter.config).toMatchObject({
      baseModel: 'llama-tied',
      rank: 4,
      alpha: 32,
      rankStabilised: false,
      dropout: 0,
    })
    const projections = ['q_proj', 'k_proj', 'v_proj', 'o_proj']
    const names = [0, 1].flatMap((layer) => projections.map((name) => `model.layers.${layer}.self_attn.${name}`))
    expect([...adapter.modules.keys()].sort()).toEqual(names.sort())
    const pair = adapter.modules.get('model.layers.1.self_attn.v_proj')
    expect(pair).toMatchObject({ rank: 4, in: 64, out: 32, scale: 8 })
    expect([...(pair?.b.subarray(0, 2) ?? [])]).toEqual([0.03245604783296585, 0.010257934220135212])
  })
})

describe('writing', () => {
  it('is read back the same, output projection included', () => {
    const folder = temporaryFolder()
    const written = plainAdapter()
    writePeftAdapter(folder, written)
    expect(fs.readdirSync(folder).sort()).toEqual(['adapter_config.json', 'adapter_model.safetensors'])
    const read = readPeftAdapter(folder, TINY)
    for (const [module, pair] of written.modules) expect(read.modules.get(module)).toEqual({ ...pair, scale: 16 })
    expect(read.modules.size).toBe(2)
  })

  it('names tensors and targets as PEFT does', () => {
    const folder = temporaryFolder()
    writePeftAdapter(folder, plainAdapter())
    expect([...openSafetensors(path.join(folder, 'adapter_model.safetensors')).keys()].sort()).toEqual([
      'base_model.model.lm_head.lora_A.weight',
      'base_model.model.lm_head.lora_B.weight',
      'base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight',
      'base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight',
    ])
    const config = JSON.parse(fs.readFileSync(path.join(folder, 'adapter_config.json'), 'utf8'))
    expect(config).toMatchObject({ peft_type: 'LORA', r: 2, lora_alpha: 32, target_modules: ['lm_head', 'q_proj'] })
  })
})

describe('what other writers do', () => {
  const scaleOf = (folder: string, module = Q) => readPeftAdapter(folder, TINY).modules.get(module)?.scale

  it('rank-stabilised scale', () => expect(scaleOf(changed({ use_rslora: true }))).toBe(32 / Math.sqrt(2)))

  it('patterns by the end of a module path', () => {
    const folder = changed({ r: 8, rank_pattern: { q_proj: 2, lm_head: 2 }, alpha_pattern: { 'self_attn.q_proj': 6 } })
    expect(scaleOf(folder)).toBe(3)
    expect(scaleOf(folder, 'lm_head')).toBe(16)
  })

  it('a pattern for another module that only ends alike does not count', () => {
    expect(scaleOf(changed({ alpha_pattern: { proj: 6 } }))).toBe(16)
  })

  it('unembed_tokens and tensors with an adapter name', () => {
    const folder = changed({}, (all) => {
      for (const [name, tensor] of [...all]) {
        all.delete(name)
        all.set(name.replace('lm_head', 'model.unembed_tokens').replace('.weight', '.default.weight'), tensor)
      }
    })
    expect([...readPeftAdapter(folder, TINY).modules.keys()].sort()).toEqual(['lm_head', Q])
  })
})

describe('what is not plain LoRA is refused in words', () => {
  it.each([
    ['another method', { peft_type: 'LOHA' }, /peft_type "LOHA" is not supported; supported: LORA/],
    ['DoRA', { use_dora: true }, /use_dora: true is not supported/],
    ['biases', { bias: 'lora_only' }, /bias "lora_only" is not supported; supported: none/],
    ['biases on B', { lora_bias: true }, /lora_bias: true/],
    ['saved modules', { modules_to_save: ['lm_head'] }, /modules_to_save: \["lm_head"\]/],
    ['transposed weights', { fan_in_fan_out: true }, /fan_in_fan_out: true/],
    [
      'a start that changes the base model',
      { init_lora_weights: 'pissa' },
      /init_lora_weights "pissa", which changes the base/,
    ],
    [
      'a pattern that is an expression',
      { rank_pattern: { '(a+)+$': 2 } },
      /rank_pattern key "\(a\+\)\+\$" is not supported/,
    ],
    ['a rank that the tensors do not have', { r: 8 }, /says rank 8 for module ".*", but its tensors have rank 2/],
    ['a rank of zero', { r: 0 }, /"r" is 0, expected a whole number of at least 1/],
    ['an infinite alpha', { lora_alpha: '1e999' }, /"lora_alpha" is "1e999", expected a positive number/],
  ])('%s', (_, config, message) => {
    const folder = changed(config)
    expect(() => readPeftAdapter(folder, TINY)).toThrow(message)
  })
})

describe('damaged and hostile folders', () => {
  const A = loraTensorName(Q, 'A')
  const set =
    (name: string, shape: number[], fill = 0) =>
    (all: Map<string, TensorData>) => {
      const data = new Float32Array(shape.reduce((x, y) => x * y, 1)).fill(fill)
      all.set(name, { shape, data })
    }
  it.each([
    ['NaN', set(A, [2, 32], Number.NaN), /q_proj.lora_A.weight" holds NaN at element 0; all must be finite/],
    ['infinity', set(A, [2, 32], Infinity), /holds Infinity at element 0/],
    ['another base model', set(A, [2, 48]), /has shape \[2, 48\], the base model wants \[2, 32\]/],
    ['ranks that differ', set(A, [3, 32]), /lora_B.weight" has shape \[32, 2\], the base model wants \[32, 3\]/],
    ['rank zero', set(A, [0, 32]), /has rank 0; 1 to 4096 are read/],
    [
      'half a pair',
      (all: Map<string, TensorData>) => void all.delete(A),
      /module ".*q_proj" has no base_model.*lora_A/,
    ],
    [
      'a module the model does not have',
      set(A.replace('layers.0', 'layers.7'), [2, 32]),
      /module "model.layers.7.self_attn.q_proj" is not supported; supported: model.layers.N.self_attn.q_proj/,
    ],
    [
      'a tensor of another kind',
      set('base_model.model.x.lora_magnitude_vector', [2]),
      /tensor "base_model.model.x.lora_magnitude_vector" is not supported/,
    ],
    ['no tensors', (all: Map<string, TensorData>) => all.clear(), /holds no LoRA tensors/],
  ])('%s', (_, change, message) => {
    const folder = changed({}, change)
    expect(() => readPeftAdapter(folder, TINY)).toThrow(message)
  })

  it('a pickle is not read', () => {
    const folder = changed({})
    fs.renameSync(path.join(folder, 'adapter_model.safetensors'), path.join(folder, 'adapter_model.bin'))
    expect(() => readPeftAdapter(folder, TINY)).toThrow(
      /has no adapter_model.safetensors; adapter_model.bin is a pickle/,
    )
  })

  it('an empty folder', () => {
    expect(() => readPeftAdapter(temporaryFolder(), TINY)).toThrow(/adapter_config.json: no such file/)
  })
})

describe('parameters of an adapter', () => {
  it('are as many as the published counts for Llama-3.2-1B', () => {
    const config = parseModelConfig('config.json', {
      architectures: ['LlamaForCausalLM'],
      hidden_size: 2048,
      intermediate_size: 8192,
      num_hidden_layers: 16,
      num_attention_heads: 32,
      num_key_value_heads: 8,
      head_dim: 64,
      vocab_size: 128256,
      max_position_embeddings: 131072,
    })
    const perRank = (part: RegExp) =>
      [...adaptableModules(config)]
        .filter(([name]) => part.test(name))
        .reduce((sum, [, [out, inputs]]) => sum + out + inputs, 0)
    expect([perRank(/lm_head/), perRank(/mlp/), perRank(/self_attn/)]).toEqual([130304, 491520, 212992])
  })
})

describe('a copy of the embedding, as PEFT saves it beside an adapter on the output projection', () => {
  const base = openModelSource(path.join(import.meta.dirname, '../backends/transformers/goldens/llama-tied/checkpoint'))
  const shapes = adaptableModules(base.config)
  const NAME = 'base_model.model.lm_head.base_layer.weight'

  function withCopy(change: (values: Float32Array) => void): string {
    const folder = temporaryFolder()
    const [out, inputs] = shapes.get('lm_head') as readonly [number, number]
    const pair = { rank: 1, in: inputs, out, a: ramp(inputs), b: ramp(out) }
    writePeftAdapter(folder, { baseModel: 'x', rank: 1, alpha: 32, modules: new Map([['lm_head', pair]]) })
    const file = path.join(folder, 'adapter_model.safetensors')
    const all = new Map<string, TensorData>()
    for (const [name, tensor] of openSafetensors(file)) all.set(name, { shape: tensor.shape, data: tensor.read() })
    const data = base.tensor('model.embed_tokens.weight').read()
    change(data)
    writeSafetensors(file, all.set(NAME, { shape: [out, inputs], data }))
    return folder
  }

  it('is passed over when it is what the base model has', () => {
    expect([
      ...readPeftAdapter(
        withCopy(() => {}),
        shapes,
        base,
      ).modules.keys(),
    ]).toEqual(['lm_head'])
  })

  it('is refused when it was trained, or cannot be compared', () => {
    const trained = withCopy((values) => (values[7] = 1))
    expect(() => readPeftAdapter(trained, shapes, base)).toThrow(/differs from the base model's own is not supported/)
    expect(() => readPeftAdapter(trained, shapes)).toThrow(/base_layer.weight" is not supported/)
  })
})
