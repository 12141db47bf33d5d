// The two graphs of sampling: the body (tokens and cached keys and values -> hidden rows and new keys and values) and the
// head (hidden rows -> best tokens, normalisers, target logits). Prefill and decoding are the same body with other sizes.
// Knows operators and shapes; knows nothing of requests, caches or random numbers.
//
// What keeps the bits of a row independent of its company is said in low-rank.ts.

import type { ModelConfig } from '../../formats/model-config.ts'
import { ropeTables } from '../../formats/rope.ts'
import { engineError } from '../engine-errors.ts'
import { BLOCK, LowRank, linear, product } from './low-rank.ts'
import { Graph, MICROSOFT } from './onnx.ts'
import type { Weights } from './weights.ts'

/** Sums over the vocabulary are vectorised from the row's start, which must be aligned alike in each row. */
const VOCABULARY_STEP = 16
/** Added to what must not be seen. */
const INVISIBLE = -1e30
/** ONNX's number for the type. */
const INT32 = 6

/** What sampling needs to know of a model. */
export type SamplingModel = Omit<ModelConfig, 'family' | 'architecture' | 'eosTokenIds' | 'bosTokenId'>

/**
 * Inputs: `ids` [B, Q], `lengths` [B] (keys already cached), `rows` [R] (which of the B * Q tokens to return), `mask` [B, C]
 * (bool: the columns of the row's adapter), adapter stacks `*.A` [L, K / 64, members * C, 64] and `*.B` [L, C, out], caches
 * `keys.l` [B, kvHeads, S, D] and `values.l` [B, kvHeads, S / 64, 64, D] with S a multiple of 64.
 * Outputs: `hidden` [R, H] after the final norm; `keys` and `values` [L * B, kvHeads, Q, D] of the new tokens.
 */
export function bodyGraph(config: SamplingModel, weights: Weights): Graph {
  if (config.headDim > 128) {
    throw engineError('UNSUPPORTED_MODEL', `heads of ${config.headDim} dimensions cannot be sampled; at most 128 can`)
  }
  const body = new Body(config, weights)
  const { graph: g } = body
  let x = body.embed()
  const keys: string[] = []
  const values: string[] = []
  for (let layer = 0; layer < config.layers; layer++) {
    const attention = body.attention(layer, x)
    x = body.mlp(layer, attention.x)
    keys.push(attention.keys)
    values.push(attention.values)
  }
  const rows = g.node('Gather', [x, g.input('rows', 'int64', ['R'])], { axis: 1 })
  const hidden = body.norm(rows, 'model.norm.weight', config.hidden)
  const dims = ['LB', config.kvHeads, 'Q', config.headDim]
  g.output(g.alias(g.node('Reshape', [hidden, g.ints(-1, config.hidden)]), 'hidden'), 'float32', ['R', config.hidden])
  g.output(g.alias(g.node('Concat', keys, { axis: 0 }), 'keys'), 'float32', dims)
  g.output(g.alias(g.node('Concat', values, { axis: 0 }), 'values'), 'float32', dims)
  return g
}

/**
 * Inputs: `hidden` [R, H], `mask` [R, C], `unembed.A`, `unembed.B` as above, `k` [1], `targets` [R, J], `inverse` [R, 1] (1 /
 * temperature). Outputs: `best` [R, k] logits in falling order (ties: lower id first) and their `ids`; `target` [R, J] logits;
 * `sums` [R, 2]: the sum of exp(logit - best) over the vocabulary, at temperature 1 and at the row's own.
 */
export function headGraph(config: SamplingModel, weights: Weights): Graph {
  const { hidden: H, vocabulary: V } = config
  const g = new Graph()
  const hidden = g.input('hidden', 'float32', ['R', H])
  const x = g.node('Unsqueeze', [hidden, g.ints(0)])
  const base = linear(g, x, weights.use(g, config.tied ? 'model.embed_tokens.weight' : 'lm_head.weight', [V, H]))
  const mask = g.input('mask', 'bool', ['R', 'C'])
  const [term = ''] = new LowRank(g, ['unembed'], 1, H, [V], mask).apply(x, 0)
  const logits = g.node('Reshape', [g.node('Add', [base, term]), g.ints(-1, V)])
  const missing = (VOCABULARY_STEP - (V % VOCABULARY_STEP)) % VOCABULARY_STEP
  const invisible = g.floats('float32', [], [INVISIBLE])
  const padded = missing ? g.node('Pad', [logits, g.ints(0, 0, 0, missing), invisible]) : logits
  const centred = g.node('Sub', [padded, g.node('ReduceMax', [padded, g.ints(1)], { keepdims: 1 })])
  const tempered = g.node('Mul', [centred, g.input('inverse', 'float32', ['R', 1])])
  const sum = (exponents: string) => g.node('ReduceSum', [g.node('Exp', [exponents]), g.ints(1)], { keepdims: 1 })
  const [best = '', ids = ''] = g.nodes('TopK', [logits, g.input('k', 'int64', [1])], { axis: 1 }, 2)
  const target = g.node('GatherElements', [logits, g.input('targets', 'int64', ['R', 'J'])], { axis: 1 })
  g.output(g.alias(best, 'best'), 'float32', ['R', 'K'])
  // In 32 bits, which JavaScript reads faster than BigInt.
  g.output(g.alias(g.node('Cast', [ids], { to: INT32 }), 'ids'), 'int32', ['R', 'K'])
  g.output(g.alias(target, 'target'), 'float32', ['R', 'J'])
  g.output(g.alias(g.node('Concat', [sum(centred), sum(tempered)], { axis: 1 }), 'sums'), 'float32', ['R', 2])
  return g
}

/** Builds the layers; values named x are [1, B * Q, H]. */
class Body {
  readonly graph = new Graph()
  readonly #config: SamplingModel
  readonly #weights: Weights
  readonly #lowRank: Record<'qkv' | 'o' | 'gateUp' | 'down', LowRank>
  readonly #batch: string
  readonly #split: { readonly queries: string; readonly keys: string }
  readonly #sizes: string
  readonly #blocks: string
  readonly #positions: string
  readonly #bias: string

  constructor(config: SamplingModel, weights: Weights) {
    const g = this.graph
    this.#config = config
    this.#weights = weights
    const { heads, kvHeads, headDim, hidden, intermediate, layers } = config
    const ids = g.input('ids', 'int64', ['B', 'Q'])
    const shape = g.node('Shape', [ids])
    const queries = g.node('Gather', [shape, g.ints(1)])
    this.#batch = g.node('Gather', [shape, g.ints(0)])
    const cache = g.input('keys.0', 'float32', ['B', kvHeads, 'S', headDim])
    const keys = g.node('Gather', [g.node('Shape', [cache]), g.ints(2)])
    this.#sizes = g.node('Concat', [keys, queries], { axis: 0 })
    this.#blocks = g.node('Div', [keys, g.ints(BLOCK)])
    this.#split = {
      queries: g.node('Concat', [shape, g.ints(heads, headDim)], { axis: 0 }),
      keys: g.node('Concat', [shape, g.ints(kvHeads, headDim)], { axis: 0 }),
    }
    const lengths = g.node('Unsqueeze', [g.input('lengths', 'int64', ['B']), g.ints(1)])
    this.#positions = g.node('Add', [lengths, this.#range(queries)])
    this.#bias = this.#visibility(lengths, queries, keys)
    const tokens = g.node('Concat', [shape, g.ints(-1)], { axis: 0 })
    const mask = g.node('Unsqueeze', [g.input('mask', 'bool', ['B', 'C']), g.ints(1)])
    const tokenMask = g.node('Expand', [mask, g.node('Concat', [shape, g.ints(1)], { axis: 0 })])
    const flat = g.node('Reshape', [g.node('Reshape', [tokenMask, tokens]), this.#columns()])
    const q = heads * headDim
    const k = kvHeads * headDim
    this.#lowRank = {
      qkv: new LowRank(g, ['q', 'k', 'v'], layers, hidden, [q, k, k], flat),
      o: new LowRank(g, ['o'], layers, q, [hidden], flat),
      gateUp: new LowRank(g, ['gate', 'up'], layers, hidden, [intermediate, intermediate], flat),
      down: new LowRank(g, ['down'], layers, intermediate, [hidden], flat),
    }
  }

  #columns(): string {
    const g = this.graph
    const columns = g.node('Gather', [g.node('Shape', ['mask']), g.ints(1)])
    return g.node('Concat', [g.ints(-1), columns], { axis: 0 })
  }

  /** [0 .. n) for a size of shape [1]. */
  #range(size: string): string {
    const g = this.graph
    return g.node('Range', [g.int(0), g.node('Squeeze', [size, g.ints(0)]), g.int(1)])
  }

  /** Additive bias [B, 1, 1, Q, S + Q]: a token sees the cached keys of its row, itself and those before it in this run. */
  #visibility(lengths: string, queries: string, keys: string): string {
    const g = this.graph
    const { slidingWindow } = this.#config
    const length = g.node('Unsqueeze', [lengths, g.ints(2)])
    const cached = this.#range(keys)
    const fresh = this.#range(queries)
    const column = g.node('Unsqueeze', [fresh, g.ints(1)])
    let past = g.node('Less', [cached, length])
    let present = g.node('LessOrEqual', [fresh, column])
    if (slidingWindow) {
      const from = (position: string) => g.node('Sub', [position, g.int(slidingWindow)])
      const position = g.node('Unsqueeze', [this.#positions, g.ints(2)])
      past = g.node('And', [past, g.node('Greater', [cached, from(position)])])
      present = g.node('And', [present, g.node('Greater', [fresh, from(column)])])
    }
    const expand = (value: string, last: string) =>
      g.node('Expand', [value, g.node('Concat', [this.#batch, queries, last], { axis: 0 })])
    const visible = g.node('Concat', [expand(past, keys), expand(present, queries)], { axis: 2 })
    const bias = g.node('Where', [visible, g.floats('float32', [], [0]), g.floats('float32', [], [INVISIBLE])])
    return g.node('Unsqueeze', [bias, g.ints(1, 2)])
  }

  embed(): string {
    const g = this.graph
    const { vocabulary, hidden } = this.#config
    const table = this.#weights.use(g, 'model.embed_tokens.weight', [vocabulary, hidden])
    return g.node('Reshape', [g.node('Gather', [table, 'ids']), g.ints(1, -1, hidden)])
  }

  norm(x: string, weight: string, size: number): string {
    const scale = this.#weights.use(this.graph, weight, [size])
    const attributes = { axis: -1, epsilon: { float: this.#config.rmsEpsilon } }
    return this.graph.node('SimplifiedLayerNormalization', [x, scale], attributes)
  }

  #project(x: string, layer: number, module: string, dims: readonly [number, number], lowRank: string): string {
    const g = this.graph
    const name = `model.layers.${layer}.${module}`
    const y = g.node('Add', [linear(g, x, this.#weights.use(g, `${name}.weight`, dims)), lowRank])
    const biased = this.#config.qkvBias && /[qkv]_proj$/.test(module)
    return biased ? g.node('Add', [y, this.#weights.use(g, `${name}.bias`, [dims[0]])]) : y
  }

  /** [1, B * Q, heads * D] -> [B, heads, Q, D], normalised and rotated where the model does that. */
  #heads(y: string, shape: string, turn: { layer: number; norm: string } | null): string {
    const g = this.graph
    const { headDim, qkNorm, maxContext } = this.#config
    let split = g.node('Reshape', [y, shape])
    if (turn && qkNorm) split = this.norm(split, `model.layers.${turn.layer}.self_attn.${turn.norm}.weight`, headDim)
    const byHead = g.node('Transpose', [split], { perm: [0, 2, 1, 3] })
    if (!turn) return byHead
    const dims = [maxContext, headDim / 2]
    if (!g.initializers.has('rope.cos')) {
      const { cos, sin } = ropeTables(this.#config, maxContext)
      g.initializer('rope.cos', { type: 'float32', dims, data: cos })
      g.initializer('rope.sin', { type: 'float32', dims, data: sin })
    }
    return g.node('RotaryEmbedding', [byHead, this.#positions, 'rope.cos', 'rope.sin'], {}, MICROSOFT)
  }

  attention(layer: number, x: string): { x: string; keys: string; values: string } {
    const g = this.graph
    const { hidden, heads, kvHeads, headDim } = this.#config
    const normal = this.norm(x, `model.layers.${layer}.input_layernorm.weight`, hidden)
    const [lowQ = '', lowK = '', lowV = ''] = this.#lowRank.qkv.apply(normal, layer)
    const project = (name: string, count: number, low: string) =>
      this.#project(normal, layer, `self_attn.${name}_proj`, [count * headDim, hidden], low)
    const q = this.#heads(project('q', heads, lowQ), this.#split.queries, { layer, norm: 'q_norm' })
    const keys = this.#heads(project('k', kvHeads, lowK), this.#split.keys, { layer, norm: 'k_norm' })
    const values = this.#heads(project('v', kvHeads, lowV), this.#split.keys, null)
    const mixed = this.#attend(layer, q, keys, values)
    const [low = ''] = this.#lowRank.o.apply(mixed, layer)
    const y = this.#project(mixed, layer, 'self_attn.o_proj', [hidden, heads * headDim], low)
    return { x: g.node('Add', [x, y]), keys, values }
  }

  /** q [B, heads, Q, D] over the cache and the new keys and values [B, kvHeads, Q, D] -> [1, B * Q, heads * D]. */
  #attend(layer: number, q: string, keys: string, values: string): string {
    const g = this.graph
    const { heads, kvHeads, headDim } = this.#config
    const reshape = (x: string, ...sizes: (number | string)[]) => {
      const parts = sizes.map((size) => (typeof size === 'number' ? g.ints(size) : size))
      return g.node('Reshape', [x, g.node('Concat', [this.#batch, ...parts], { axis: 0 })])
    }
    // The query heads that share a key head are rows of one matmul.
    const grouped = reshape(q, kvHeads, -1, headDim)
    const pastKeys = g.input(`keys.${layer}`, 'float32', ['B', kvHeads, 'S', headDim])
    const pastValues = g.input(`values.${layer}`, 'float32', ['B', kvHeads, 'S/64', BLOCK, headDim])
    const scale = 1 / Math.sqrt(headDim)
    const scores = g.node('Concat', [product(g, grouped, pastKeys, scale, 1), product(g, grouped, keys, scale, 1)], {
      axis: 3,
    })
    const queries = g.node('Gather', [this.#sizes, g.ints(1)])
    const total = g.node('ReduceSum', [this.#sizes, g.ints(0)], { keepdims: 1 })
    const biased = g.node('Add', [reshape(scores, kvHeads, heads / kvHeads, queries, total), this.#bias])
    const shares = g.node('Softmax', [biased], { axis: -1 })
    const [past = '', present = ''] = g.nodes('Split', [shares, this.#sizes], { axis: -1 }, 2)
    const blocks = g.node('Transpose', [reshape(past, kvHeads, -1, this.#blocks, BLOCK)], { perm: [0, 1, 3, 2, 4] })
    const old = g.node('ReduceSum', [product(g, blocks, pastValues, 2), g.ints(2)], { keepdims: 0 })
    const sum = g.node('Add', [old, product(g, reshape(present, kvHeads, -1, queries), values, 2)])
    const mixed = g.node('Mul', [sum, g.floats('float32', [], [0.5])])
    const byToken = g.node('Transpose', [reshape(mixed, heads, -1, headDim)], { perm: [0, 2, 1, 3] })
    return g.node('Reshape', [byToken, g.ints(1, -1, heads * headDim)])
  }

  mlp(layer: number, x: string): string {
    const g = this.graph
    const { hidden, intermediate } = this.#config
    const normal = this.norm(x, `model.layers.${layer}.post_attention_layernorm.weight`, hidden)
    const [lowGate = '', lowUp = ''] = this.#lowRank.gateUp.apply(normal, layer)
    const gate = this.#project(normal, layer, 'mlp.gate_proj', [intermediate, hidden], lowGate)
    const up = this.#project(normal, layer, 'mlp.up_proj', [intermediate, hidden], lowUp)
    const silu = g.node('QuickGelu', [gate], { alpha: { float: 1 } }, MICROSOFT)
    const inner = g.node('Mul', [silu, up])
    const [low = ''] = this.#lowRank.down.apply(inner, layer)
    return g.node('Add', [x, this.#project(inner, layer, 'mlp.down_proj', [hidden, intermediate], low)])
  }
}
