// The output projection: log-probabilities of targets, and the gradient of any token loss with respect to the logits.
// The vocabulary is walked in blocks, so that neither the float32 logits of a large vocabulary nor their normaliser need
// one huge buffer. The loss is data: a few numbers a target (see catalogue/losses/numbers.ts). Where a loss rewards it, the
// entropy of the distribution comes as well. Knows nothing of the layers below.

import { LOSS_NUMBERS, MOST_LIFT } from '../../catalogue/losses/numbers.ts'
import type { Autodiff, ColumnShare, Value } from './autodiff.ts'
import type { DecoderConfig, LowRankPair } from './layers.ts'
import type { Weights } from './weights.ts'

export const VOCABULARY_BLOCK = 8192

export interface HeadContext {
  readonly ad: Autodiff
  readonly config: DecoderConfig
  readonly weights: Weights
  readonly vocabularyBlock: number
  readonly pair: LowRankPair | undefined
  readonly entropy: boolean
}

interface Block {
  readonly weight: Value
  /** B of the block's words [C, words]. */
  readonly b: Value | undefined
  /** logits - max and exp of it [R, words], max [R, 1] and the sum of the latter [R, 1]. */
  readonly shifted: Value
  readonly p: Value
  readonly max: Value
  readonly total: Value
  /** Place of each target in the block [R, K], 0 where it lies in another block, and whether it lies in this one. */
  readonly at: Value
  readonly inside: Value | undefined
  /** Logits of the targets that lie in the block, 0 for the others [R, K]. */
  readonly target: Value
}

export interface Logprobs {
  /** log p(target) [R, K]. */
  readonly logprobs: Value
  readonly normaliser: Value
  /** log p of the likeliest token [R, 1]: the target's where it is the likeliest, to the bit. */
  readonly best: Value
  /** [R, 1], where it was asked for. */
  readonly entropy: Value | undefined
  readonly blocks: readonly Block[]
  readonly low: Value | undefined
}

/** Log-probabilities of `targets` [R, K] after the normalised hidden rows h [R, hidden]. `share` is of these rows. */
export function targetLogprobs(context: HeadContext, h: Value, targets: Value, share: ColumnShare): Logprobs {
  const { ad, pair } = context
  const low = pair && ownColumns(ad, ad.multiply(h, pair.a, { transB: 1 }), share)
  const blocks = vocabularyBlocks(context, h, targets, low)
  const max =
    blocks.length === 1
      ? (blocks[0] as Block).max
      : ad.op(
          'Max',
          blocks.map((b) => b.max),
        )
  const totals = blocks.map((b) => ad.op('Mul', [b.total, ad.op('Exp', [ad.op('Sub', [b.max, max])])]))
  const normaliser = ad.op('Add', [max, ad.op('Log', [ad.sum(totals)])])
  const logprobs = ad.op('Sub', [ad.sum(blocks.map((b) => b.target)), normaliser])
  const entropy = context.entropy ? entropyOf(ad, blocks, normaliser) : undefined
  const best = ad.op('Sub', [max, normaliser])
  return { logprobs, normaliser, best, entropy, blocks, low }
}

/** H = - sum of p log p = - sum over blocks of exp(max - normaliser) (sum of e s + (max - normaliser) sum of e), e = exp(s). */
function entropyOf(ad: Autodiff, blocks: readonly Block[], normaliser: Value): Value {
  const parts = blocks.map(({ p, shifted, max, total }) => {
    const offset = ad.op('Sub', [max, normaliser])
    const own = ad.op('Add', [ad.rowSum(ad.op('Mul', [p, shifted])), ad.op('Mul', [offset, total])])
    return ad.op('Mul', [ad.op('Exp', [offset]), own])
  })
  return ad.op('Neg', [ad.sum(parts)])
}

/** Starts the backward pass: accumulates the gradients of h and of the unembedding's adapter columns. */
export function lossGradient(context: HeadContext, h: Value, share: ColumnShare, forward: Logprobs): void {
  const { ad, pair } = context
  const { blocks, low, normaliser } = forward
  const numbers = lossNumbers(ad)
  const pull = lossDerivative(ad, forward.logprobs, numbers)
  const rowPull = ad.rowSum(pull)
  const none = ad.scalar(0)
  // d loss / d logits = softmax * (sum of the row's pulls) - pull at each target.
  const dlogits = blocks.map((block) => {
    const { p, max, at, inside } = block
    const offset = ad.op('Sub', [max, normaliser])
    const weight = ad.op('Mul', [rowPull, ad.op('Exp', [offset])])
    const own = ad.op('Neg', [inside === undefined ? pull : ad.op('Where', [inside, pull, none])])
    const rest =
      forward.entropy === undefined ? weight : entropyPull(ad, block, offset, weight, forward.entropy, numbers)
    return ad.op('ScatterElements', [ad.op('Mul', [p, rest]), at, own], { axis: 1, reduction: 'add' })
  })
  const through = (matrix: (b: Block) => Value, transB: number) =>
    ad.sum(blocks.map((b, i) => ad.multiply(dlogits[i] as Value, matrix(b), { transB })))
  ad.accumulate(h, () => through((b) => b.weight, 0))
  if (!pair || low === undefined) return
  const dlow = ownColumns(
    ad,
    through((b) => b.b as Value, 1),
    share,
  )
  ad.accumulate(h, () => ad.multiply(dlow, pair.a))
  ad.accumulate(pair.a, () => ad.multiply(dlow, h, { transA: 1 }))
  ad.accumulate(pair.b, () => {
    const parts = dlogits.map((d) => ad.multiply(low, d, { transA: 1 }))
    return parts.length === 1 ? (parts[0] as Value) : ad.op('Concat', parts, { axis: 1 })
  })
}

function ownColumns(ad: Autodiff, columns: Value, { scale, mine }: ColumnShare): Value {
  return ad.op('Where', [mine, ad.op('Mul', [columns, scale]), ad.scalar(0)])
}

function vocabularyBlocks(context: HeadContext, h: Value, targets: Value, low: Value | undefined): Block[] {
  const { ad, config, weights, vocabularyBlock, pair } = context
  const { graph } = ad
  const name = config.tied ? 'model.embed_tokens.weight' : 'lm_head.weight'
  const { vocabulary, hidden } = config
  const single = vocabulary <= vocabularyBlock
  const blocks: Block[] = []
  for (let first = 0; first < vocabulary; first += vocabularyBlock) {
    const words = Math.min(vocabularyBlock, vocabulary - first)
    const weight = weights.use(graph, name, [words, hidden], first)
    const b = pair && (single ? pair.b : ad.slice(pair.b, 1, graph.ints(first), graph.ints(first + words)))
    const plain = ad.multiply(h, weight, { transB: 1 })
    const logits = b && low !== undefined ? ad.op('Add', [plain, ad.multiply(low, b)]) : plain
    const max = ad.op('ReduceMax', [logits, graph.ints(1)], { keepdims: 1 })
    const shifted = ad.op('Sub', [logits, max])
    const p = ad.op('Exp', [shifted])
    const place = single ? { at: targets, inside: undefined } : placeIn(ad, targets, first, words)
    const picked = ad.op('GatherElements', [logits, place.at], { axis: 1 })
    const target = place.inside === undefined ? picked : ad.op('Where', [place.inside, picked, ad.scalar(0)])
    blocks.push({ weight, b, shifted, p, max, total: ad.rowSum(p), ...place, target })
  }
  return blocks
}

function placeIn(ad: Autodiff, targets: Value, first: number, words: number): { at: Value; inside: Value } {
  const { graph } = ad
  const local = ad.op('Sub', [targets, graph.int(first)])
  const inside = ad.op('And', [
    ad.op('GreaterOrEqual', [local, graph.int(0)]),
    ad.op('Less', [local, graph.int(words)]),
  ])
  return { at: ad.op('Where', [inside, local, graph.int(0)]), inside }
}

type NumberOf = (name: (typeof LOSS_NUMBERS)[number]) => Value

/** The numbers of the losses, [R, K] each. */
function lossNumbers(ad: Autodiff): NumberOf {
  const input = ad.graph.input('loss', ad.type, [LOSS_NUMBERS.length, 'R', 'K'])
  return (name) => ad.op('Gather', [input, ad.graph.int(LOSS_NUMBERS.indexOf(name))])
}

/**
 * d(-loss) / d(logprob) [R, K] = linear + ratio * clamp(r, low, high) * [gateLow <= r <= gateHigh] - pull * (p - old)
 * + lift * exp(ref - p) with r = exp(p - old). Clamped before it is multiplied: an infinite ratio times 0 is 0.
 */
function lossDerivative(ad: Autodiff, logprobs: Value, number: NumberOf): Value {
  const delta = ad.op('Sub', [logprobs, number('old')])
  const ratio = ad.op('Exp', [delta])
  const above = ad.op('GreaterOrEqual', [ratio, number('gateLow')])
  const below = ad.op('LessOrEqual', [ratio, number('gateHigh')])
  const clamped = ad.op('Max', [ad.op('Min', [ratio, number('high')]), number('low')])
  const gated = ad.op('Where', [ad.op('And', [above, below]), clamped, ad.scalar(0)])
  const driven = ad.op('Add', [number('linear'), ad.op('Mul', [number('ratio'), gated])])
  const pulled = ad.op('Sub', [driven, ad.op('Mul', [number('pull'), delta])])
  const behind = ad.op('Min', [ad.op('Sub', [number('ref'), logprobs]), ad.scalar(MOST_LIFT)])
  return ad.op('Add', [pulled, ad.op('Mul', [number('lift'), ad.op('Exp', [behind])])])
}

/** What a block's exp(logits - max) are multiplied by where the loss is lowered by c H: dH/dlogit = -p (log p + H). */
function entropyPull(
  ad: Autodiff,
  { shifted }: Block,
  offset: Value,
  weight: Value,
  entropy: Value,
  number: NumberOf,
): Value {
  const c = ad.op('Mul', [ad.rowSum(number('entropy')), ad.op('Exp', [offset])])
  const surprise = ad.op('Add', [shifted, ad.op('Add', [offset, entropy])])
  return ad.op('Add', [weight, ad.op('Mul', [c, surprise])])
}
