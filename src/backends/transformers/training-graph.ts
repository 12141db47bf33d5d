// The graph of one training micro-batch: packed tokens of any sequences, adapters and losses in; log-probabilities and
// adapter gradients out. Axes T (tokens), B and S (spans of attention and their length), C (adapter columns), R and F (rows
// with a gradient and without), K (targets a row) and P (positions) are free: one session serves every size of them. Knows the names of inputs and outputs.

import { PROJECTIONS, type Projection, projectionShape } from './adapter-layout.ts'
import { attentionSpans } from './attention.ts'
import { Autodiff, type ColumnShare, type Rotation, type Value } from './autodiff.ts'
import { type HeadContext, lossGradient, targetLogprobs, VOCABULARY_BLOCK } from './head.ts'
import { type DecoderConfig, type DecoderContext, decoderLayer, type LowRankPair } from './layers.ts'
import type { Graph } from './onnx.ts'
import type { Weights } from './weights.ts'

/** What makes two training graphs different; all else is data. */
export interface GraphKey {
  /** Projections with a low-rank term, in the order of PROJECTIONS. */
  readonly projections: readonly Projection[]
  readonly backward: boolean
  readonly head?: HeadExtra
}

/**
 * What the head gives beside or instead of log-probabilities, and takes gradients of. Most losses have no use for it, and it
 * takes time: hence graphs of their own.
 */
export type HeadExtra = 'entropies' | 'embeddings'

export function graphKeyText({ projections, backward, head }: GraphKey): string {
  return `${backward ? 'backward' : 'forward'}${head ? ` ${head}` : ''} ${projections.join(',')}`
}

/** Layers up to which all graphs are made in a blink. */
const SHALLOW = 8

/**
 * Which training graph is made before the engine is ready, and which in the background after. The gradient's takes seconds
 * for a deep model, which may sample meanwhile; for a shallow one it is so quick that nobody should wait for it later.
 */
export function graphOrder(layers: number): readonly [GraphKey, GraphKey] {
  const forward = { projections: PROJECTIONS, backward: false }
  const backward = { projections: PROJECTIONS, backward: true }
  return layers <= SHALLOW ? [backward, forward] : [forward, backward]
}

/**
 * Inputs: ids, place [T], layout, first, positions [B, S], cos, sin [P, D/2], share [T, C], per
 * projection p.A [layers, C, in] and p.B [layers, C, out], scored [F], scored.targets [F, K]; for backward also
 * graded [R], graded.targets [R, K], loss [numbers, R, K].
 * Outputs: scored.logprobs [F, K], graded.logprobs [R, K], scored.best [F, 1], graded.best [R, 1], p.A.grad and p.B.grad shaped as their inputs; with entropies also
 * scored.entropies [F, 1] and graded.entropies [R, 1]. With embeddings the head's inputs are graded [R] and, for backward,
 * embeddings.grad [R, hidden], its output embeddings [R, hidden].
 */
export function trainingGraph(
  config: DecoderConfig,
  weights: Weights,
  key: GraphKey,
  vocabularyBlock = VOCABULARY_BLOCK,
): Graph {
  const ad = new Autodiff(weights.type)
  const { graph } = ad
  const { hidden, vocabulary, heads, kvHeads } = config
  const ids = graph.input('ids', 'int64', ['T'])
  const share = columnShare(ad)
  const stacks = new AdapterStacks(ad, config, key)
  const context: DecoderContext = {
    ad,
    config,
    weights,
    share,
    rotation: rotation(ad, config.headDim),
    spans: attentionSpans(ad, heads / kvHeads),
    pair: (projection, layer) => stacks.pair(projection, layer),
  }
  let x = ad.op('Gather', [weights.use(graph, 'model.embed_tokens.weight', [vocabulary, hidden]), ids])
  for (let layer = 0; layer < config.layers; layer++) x = decoderLayer(context, layer, x)
  const h = ad.rmsNorm(x, weights.use(graph, 'model.norm.weight', [hidden]), config.rmsEpsilon)
  if (key.head === 'embeddings') {
    embed(ad, h, hidden, key.backward)
    if (key.backward) stacks.output()
    return graph
  }
  const pair = stacks.pair('unembed', 0)
  const head: HeadContext = { ad, config, weights, vocabularyBlock, pair, entropy: key.head === 'entropies' }

  score(head, h, share, 'scored', 'F')
  if (key.backward) {
    const graded = score(head, h, share, 'graded', 'R')
    lossGradient(head, graded.rows, graded.share, graded.forward)
    ad.backward()
    stacks.output()
  }
  return graph
}

function columnShare(ad: Autodiff): ColumnShare {
  const scale = ad.graph.input('share', ad.type, ['T', 'C'])
  return { scale, mine: ad.op('Not', [ad.op('Equal', [scale, ad.scalar(0)])]) }
}

function rotation(ad: Autodiff, headDim: number): Rotation {
  const positions = ad.graph.input('positions', 'int64', ['B', 'S'])
  const cos = ad.graph.input('cos', ad.type, ['P', headDim / 2])
  const sin = ad.graph.input('sin', ad.type, ['P', headDim / 2])
  return { positions, cos, sin, negativeSin: ad.op('Neg', [sin]) }
}

/** Log-probabilities of the rows listed in the input `name`, put out as `name.logprobs`. */
function score(head: HeadContext, h: Value, share: ColumnShare, name: 'scored' | 'graded', axis: string) {
  const { ad } = head
  const { graph } = ad
  const index = graph.input(name, 'int64', [axis])
  const targets = graph.input(`${name}.targets`, 'int64', [axis, 'K'])
  const rows = name === 'graded' ? ad.pickRows(h, index) : ad.op('Gather', [h, index])
  const rowShare = { scale: ad.op('Gather', [share.scale, index]), mine: ad.op('Gather', [share.mine, index]) }
  const forward = targetLogprobs(head, rows, targets, rowShare)
  graph.output(graph.alias(forward.logprobs, `${name}.logprobs`), ad.type, [axis, 'K'])
  graph.output(graph.alias(forward.best, `${name}.best`), ad.type, [axis, 1])
  if (forward.entropy !== undefined) {
    graph.output(graph.alias(forward.entropy, `${name}.entropies`), ad.type, [axis, 1])
  }
  return { rows, share: rowShare, forward }
}

/** The hidden states of the rows listed in `graded`, and the way back from their gradients. */
function embed(ad: Autodiff, h: Value, hidden: number, backward: boolean): void {
  const { graph, type } = ad
  const rows = ad.pickRows(h, graph.input('graded', 'int64', ['R']))
  graph.output(graph.alias(rows, 'embeddings'), type, ['R', hidden])
  if (!backward) return
  const gradient = graph.input('embeddings.grad', type, ['R', hidden])
  ad.accumulate(rows, () => gradient)
  ad.backward()
}

/** The stacked adapters of all layers as graph inputs, and their gradients as outputs of the same shapes. */
class AdapterStacks {
  readonly #ad: Autodiff
  readonly #config: DecoderConfig
  readonly #key: GraphKey
  readonly #pairs = new Map<Projection, LowRankPair[]>()

  constructor(ad: Autodiff, config: DecoderConfig, key: GraphKey) {
    this.#ad = ad
    this.#config = config
    this.#key = key
    for (const projection of PROJECTIONS) {
      if (key.projections.includes(projection)) this.#pairs.set(projection, this.#declare(projection))
    }
  }

  pair(projection: Projection, layer: number): LowRankPair | undefined {
    return this.#pairs.get(projection)?.[layer]
  }

  #declare(projection: Projection): LowRankPair[] {
    const { graph, type } = this.#ad
    const shape = projectionShape(this.#config, projection)
    const a = graph.input(`${projection}.A`, type, [shape.layers, 'C', shape.in])
    const b = graph.input(`${projection}.B`, type, [shape.layers, 'C', shape.out])
    return Array.from({ length: shape.layers }, (_, layer) => ({ a: this.#layer(a, layer), b: this.#layer(b, layer) }))
  }

  #layer(stack: Value, layer: number): Value {
    const value = this.#ad.op('Gather', [stack, this.#ad.graph.int(layer)])
    return this.#key.backward ? this.#ad.want(value) : value
  }

  output(): void {
    const { graph, type } = this.#ad
    for (const [projection, pairs] of this.#pairs) {
      const shape = projectionShape(this.#config, projection)
      for (const [side, width] of [
        ['a', shape.in],
        ['b', shape.out],
      ] as const) {
        const name = `${projection}.${side.toUpperCase()}.grad`
        graph.output(graph.alias(this.#stack(pairs.map((p) => p[side])), name), type, [shape.layers, 'C', width])
      }
    }
  }

  #stack(values: readonly Value[]): Value {
    const gradients = values.map((value) => {
      const gradient = this.#ad.gradient(value)
      if (gradient === undefined) throw new Error(`no gradient reaches adapter value ${value}`)
      return this.#ad.op('Unsqueeze', [gradient, this.#ad.graph.ints(0)])
    })
    return gradients.length === 1 ? (gradients[0] as Value) : this.#ad.op('Concat', gradients, { axis: 0 })
  }
}
