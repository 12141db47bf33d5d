// A model of random weights for tests that need an unusual shape: every trait at once, several vocabulary blocks.

import type { RopeScaling } from '../../../formats/model-config.ts'
import type { TrainableModel } from '../executor.ts'
import type { WeightSource } from '../weights.ts'

export const ODD_MODEL: TrainableModel = {
  hidden: 32,
  intermediate: 48,
  layers: 2,
  heads: 4,
  kvHeads: 2,
  headDim: 8,
  vocabulary: 50,
  rmsEpsilon: 1e-5,
  tied: true,
  qkvBias: true,
  qkNorm: true,
  maxContext: 64,
  rope: { theta: 10_000, scaling: { type: 'none' } as RopeScaling },
}

/** Uniform noise from a seed: a linear congruential generator. */
export function noise(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 2 ** 32 - 0.5
  }
}

/** Any tensor that is asked for, random by its name. Shapes are those that the graph wants. */
export function randomWeights(model: TrainableModel): WeightSource {
  const shapes = new Map<string, number[]>([
    ['model.embed_tokens.weight', [model.vocabulary, model.hidden]],
    ['lm_head.weight', [model.vocabulary, model.hidden]],
    ['model.norm.weight', [model.hidden]],
  ])
  const queries = model.heads * model.headDim
  const keys = model.kvHeads * model.headDim
  for (let layer = 0; layer < model.layers; layer++) {
    const add = (name: string, ...shape: number[]) => shapes.set(`model.layers.${layer}.${name}`, shape)
    for (const [name, out] of [
      ['q', queries],
      ['k', keys],
      ['v', keys],
    ] as const) {
      add(`self_attn.${name}_proj.weight`, out, model.hidden)
      add(`self_attn.${name}_proj.bias`, out)
      add(`self_attn.${name}_norm.weight`, model.headDim)
    }
    add('self_attn.o_proj.weight', model.hidden, queries)
    add('mlp.gate_proj.weight', model.intermediate, model.hidden)
    add('mlp.up_proj.weight', model.intermediate, model.hidden)
    add('mlp.down_proj.weight', model.hidden, model.intermediate)
    add('input_layernorm.weight', model.hidden)
    add('post_attention_layernorm.weight', model.hidden)
  }
  return {
    names: () => shapes.keys(),
    contentHash: () => 'random',
    tensor(name) {
      const shape = shapes.get(name)
      if (!shape) throw new Error(`the random model has no ${name}`)
      const next = noise([...name].reduce((h, c) => Math.imul(h, 31) + c.charCodeAt(0), 7))
      const norm = name.includes('norm')
      const scale = 4 / Math.sqrt(shape.at(-1) as number)
      const length = shape.reduce((a, b) => a * b, 1)
      return { shape, read: () => Float32Array.from({ length }, () => (norm ? 1 + 0.4 * next() : scale * next())) }
    },
  }
}
