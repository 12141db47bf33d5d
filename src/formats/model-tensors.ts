/**
 * Which tensors a model of a given configuration consists of, by their Hugging Face names, with shapes.
 * The one place that knows these names; opening a model checks its files against this list.
 */
import { corrupt } from './format-error.ts'
import type { ModelConfig } from './model-config.ts'
import { formatShape, type LazyTensor } from './tensor.ts'

/** Copies of what the configuration says already: the tied output projection, rotary frequencies. */
const HARMLESS = /^lm_head\.weight$|\.rotary_emb\.inv_freq$/

/** Name -> shape of every tensor that the engine needs; matrices are [out, in]. */
export function expectedTensors(config: ModelConfig): Map<string, readonly number[]> {
  const { hidden, vocabulary } = config
  const tensors = new Map<string, readonly number[]>()
  tensors.set('model.embed_tokens.weight', [vocabulary, hidden])
  for (let layer = 0; layer < config.layers; layer++) {
    for (const [name, shape] of layerTensors(config)) tensors.set(`model.layers.${layer}.${name}`, shape)
  }
  tensors.set('model.norm.weight', [hidden])
  if (!config.tied) tensors.set('lm_head.weight', [vocabulary, hidden])
  return tensors
}

/** Module path -> [out, in] of the projections that can carry an adapter, the output projection included. */
export function adaptableModules(config: ModelConfig): Map<string, readonly [number, number]> {
  const modules = new Map<string, readonly [number, number]>()
  for (let layer = 0; layer < config.layers; layer++) {
    for (const [name, shape] of projections(config)) modules.set(`model.layers.${layer}.${name}`, shape)
  }
  modules.set('lm_head', [config.vocabulary, config.hidden])
  return modules
}

function projections(config: ModelConfig): [string, readonly [number, number]][] {
  const { hidden, intermediate } = config
  const queries = config.heads * config.headDim
  const keys = config.kvHeads * config.headDim
  return [
    ['self_attn.q_proj', [queries, hidden]],
    ['self_attn.k_proj', [keys, hidden]],
    ['self_attn.v_proj', [keys, hidden]],
    ['self_attn.o_proj', [hidden, queries]],
    ['mlp.gate_proj', [intermediate, hidden]],
    ['mlp.up_proj', [intermediate, hidden]],
    ['mlp.down_proj', [hidden, intermediate]],
  ]
}

function* layerTensors(config: ModelConfig): Generator<[string, readonly number[]]> {
  for (const [name, shape] of projections(config)) {
    yield [`${name}.weight`, shape]
    if (config.qkvBias && /\.[qkv]_proj$/.test(name)) yield [`${name}.bias`, [shape[0]]]
  }
  if (config.qkNorm) {
    yield ['self_attn.q_norm.weight', [config.headDim]]
    yield ['self_attn.k_norm.weight', [config.headDim]]
  }
  yield ['input_layernorm.weight', [config.hidden]]
  yield ['post_attention_layernorm.weight', [config.hidden]]
}

/**
 * Throws a FormatError that names the first tensor that is missing, has another shape, or would have to be left out of
 * the computation. `where` is for messages.
 */
export function checkTensors(
  where: string,
  config: ModelConfig,
  tensors: ReadonlyMap<string, Pick<LazyTensor, 'shape'>>,
): void {
  const expected = expectedTensors(config)
  for (const [name, shape] of expected) {
    const found = tensors.get(name)
    if (!found) throw corrupt(where, `the weights lack tensor "${name}" ${formatShape(shape)}`)
    if (formatShape(found.shape) !== formatShape(shape)) {
      throw corrupt(
        where,
        `tensor "${name}" has shape ${formatShape(found.shape)}, but the configuration says ${formatShape(shape)}`,
      )
    }
  }
  for (const name of tensors.keys()) {
    if (!expected.has(name) && !HARMLESS.test(name)) {
      throw corrupt(where, `tensor "${name}" has no place in a ${config.family} model of ${config.layers} layers`)
    }
  }
}
