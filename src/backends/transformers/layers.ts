// The decoder layer of the Llama family (Llama, Mistral, Qwen2, Qwen3) with low-rank terms on its projections.
// Knows Hugging Face tensor names and the order of a layer's parts; knows nothing of losses, batches or sessions.

import type { DecoderShape, Projection } from './adapter-layout.ts'
import { projectionShape } from './adapter-layout.ts'
import { attention, fromSpans, type Spans, toSpans } from './attention.ts'
import type { Autodiff, ColumnShare, Rotation, Value } from './autodiff.ts'
import { modulePath } from './module-names.ts'
import type { Weights } from './weights.ts'

/** What the graphs need to know of a model; `ModelConfig` of src/formats has it all. */
export interface DecoderConfig extends DecoderShape {
  readonly rmsEpsilon: number
  readonly tied: boolean
  readonly qkvBias: boolean
  readonly qkNorm: boolean
}

/** The adapter stacks of a projection in one layer: A [C, in] and B [C, out]. */
export interface LowRankPair {
  readonly a: Value
  readonly b: Value
}

export interface DecoderContext {
  readonly ad: Autodiff
  readonly config: DecoderConfig
  readonly weights: Weights
  readonly share: ColumnShare
  readonly rotation: Rotation
  readonly spans: Spans
  /** Undefined for a projection that no adapter of the graph adapts. */
  readonly pair: (projection: Projection, layer: number) => LowRankPair | undefined
}

type LayerProjection = Exclude<Projection, 'unembed'>

/** x [T, hidden] through one layer. */
export function decoderLayer(context: DecoderContext, layer: number, x: Value): Value {
  const { ad, config, weights } = context
  const prefix = `model.layers.${layer}`
  const norm = (value: Value, name: string) =>
    ad.rmsNorm(value, weights.use(ad.graph, `${prefix}.${name}.weight`, [config.hidden]), config.rmsEpsilon)
  const project = (value: Value, projection: LayerProjection) => adaptedProjection(context, layer, value, projection)

  const normal = norm(x, 'input_layernorm')
  const q = heads(context, layer, normal, 'q')
  const k = heads(context, layer, normal, 'k')
  const v = heads(context, layer, normal, 'v')
  const mixed = ad.transpose(attention(ad, q, k, v, config, context.spans), [0, 2, 1, 3])
  const width = config.heads * config.headDim
  const joined = ad.reshape(mixed, [0, 0, width], [0, 0, config.heads, config.headDim])
  const rows = fromSpans(ad, joined, context.spans, width)
  const middle = ad.add(x, project(rows, 'o'))
  const second = norm(middle, 'post_attention_layernorm')
  return ad.add(middle, project(ad.swiglu(project(second, 'gate'), project(second, 'up')), 'down'))
}

function adaptedProjection(
  { ad, config, weights, share, pair }: DecoderContext,
  layer: number,
  x: Value,
  projection: LayerProjection,
): Value {
  const shape = projectionShape(config, projection)
  const module = modulePath(projection, layer)
  const y = ad.linear(x, weights.use(ad.graph, `${module}.weight`, [shape.out, shape.in]))
  const low = pair(projection, layer)
  const adapted = low ? ad.add(y, ad.lowRank(x, low.a, low.b, share)) : y
  const biased = config.qkvBias && (projection === 'q' || projection === 'k' || projection === 'v')
  return biased ? ad.add(adapted, weights.use(ad.graph, `${module}.bias`, [shape.out])) : adapted
}

/** Projects x to [B, heads, S, D]; queries and keys normalised where the family does so, then rotated. */
function heads(context: DecoderContext, layer: number, x: Value, projection: 'q' | 'k' | 'v'): Value {
  const { ad, config, weights, rotation, spans } = context
  const { headDim } = config
  const count = projection === 'q' ? config.heads : config.kvHeads
  const width = count * headDim
  const laid = toSpans(ad, adaptedProjection(context, layer, x, projection), spans, width)
  const split = ad.reshape(laid, [0, 0, count, headDim], [0, 0, width])
  if (projection === 'v') return ad.transpose(split, [0, 2, 1, 3])
  const name = `model.layers.${layer}.self_attn.${projection}_norm.weight`
  const normal = config.qkNorm ? ad.rmsNorm(split, weights.use(ad.graph, name, [headDim]), config.rmsEpsilon) : split
  return ad.rotate(ad.transpose(normal, [0, 2, 1, 3]), rotation)
}
