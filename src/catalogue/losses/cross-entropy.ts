// Cross entropy under its three names of Twinkle's: they differ in how the memory of the logits is spared, which is the
// engine's own business here, and in their defaults. DFT: Wu et al., "On the Generalization of SFT", arXiv 2508.05629, weighs
// each token by its own probability, held constant.

import type { Arguments } from '../arguments.ts'
import { onlyIgnored, type TokenCatalogueLoss } from './loss.ts'
import { NEUTRAL } from './numbers.ts'
import { sum, tokenMean } from './shares.ts'

type CrossEntropySettings = {
  readonly reduction: 'mean' | 'sum'
  /** 1: dynamic fine-tuning. */
  readonly dft: number
}

const REDUCTIONS = ['mean', 'sum'] as const

const PLAIN = {
  kind: 'token',
  required: ['mask'],
  optional: [],
  soft: false,
  formula: '-p, or with dft -sg(exp(p)) p; summed, or the mean over all tokens',
  reduction: ({ reduction }) => reduction,
  shares: (datums, { reduction }) => (reduction === 'sum' ? sum(datums) : tokenMean(datums)),
  value: (p, _, { dft }) => (dft ? -Math.exp(p) * p : -p),
  // exp(p) is the ratio to a policy that is certain of the target.
  numbers: (_, { dft }) => (dft ? { ...NEUTRAL, ratio: 1 } : { ...NEUTRAL, linear: 1 }),
} as const satisfies Partial<TokenCatalogueLoss<CrossEntropySettings>>

function settings(args: Arguments): CrossEntropySettings {
  onlyIgnored(args)
  return { reduction: args.choice('reduction', 'mean', REDUCTIONS), dft: Number(args.boolean('dft', false)) }
}

export const crossEntropy: TokenCatalogueLoss<CrossEntropySettings> = {
  ...PLAIN,
  name: 'CrossEntropyLoss',
  key: 'cross_entropy',
  source: 'dft: arXiv 2508.05629',
  settings,
}

export const chunkedCrossEntropy: TokenCatalogueLoss<CrossEntropySettings> = {
  ...PLAIN,
  name: 'ChunkedCrossEntropyLoss',
  key: 'chunked_cross_entropy',
  source: 'dft: arXiv 2508.05629',
  settings(args) {
    // The engine walks the vocabulary in blocks of its own.
    args.integer('chunk_size', 1, { atLeast: 1 })
    return settings(args)
  },
}

export const ligerCrossEntropy: TokenCatalogueLoss<CrossEntropySettings> = {
  ...PLAIN,
  name: 'LigerFusedLinearCrossEntropyLoss',
  key: 'liger_fused_linear_cross_entropy',
  formula: '-p; summed, or the mean over all tokens',
  source: 'arXiv 2410.10989',
  settings(args) {
    args.only('label_smoothing', 0)
    args.only('softcap', null)
    onlyIgnored(args)
    return { reduction: args.choice('reduction', 'sum', REDUCTIONS), dft: 0 }
  },
}
