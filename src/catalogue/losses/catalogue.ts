// The losses of Twinkle's catalogue by name. A class name or its short name gives the loss and its complete settings; what
// this server does not compute is refused with the reason. Knows names; the formulas stand in files of their own.

import { Arguments, type Kwargs } from '../arguments.ts'
import { unknownName, unsupportedName } from '../catalogue-error.ts'
import { cispo } from './cispo.ts'
import { bnpo, drGrpo, grpo, ppo } from './clipped.ts'
import { chunkedCrossEntropy, crossEntropy, ligerCrossEntropy } from './cross-entropy.ts'
import { dpo } from './dpo.ts'
import { gkd } from './gkd.ts'
import { infonce } from './infonce.ts'
import { gspo, sapo } from './joint-policy.ts'
import type { CatalogueLoss, LossDatum, Settings } from './loss.ts'
import { cpo, orpo, simpo } from './reference-free.ts'
import { totalCounted } from './shares.ts'

export const CATALOGUE_LOSSES = {
  CrossEntropyLoss: crossEntropy,
  ChunkedCrossEntropyLoss: chunkedCrossEntropy,
  LigerFusedLinearCrossEntropyLoss: ligerCrossEntropy,
  GRPOLoss: grpo,
  PPOLoss: ppo,
  BNPOLoss: bnpo,
  DRGRPOLoss: drGrpo,
  CISPOLoss: cispo,
  SAPOLoss: sapo,
  GSPOLoss: gspo,
  DPOLoss: dpo,
  SimPOLoss: simpo,
  CPOLoss: cpo,
  ORPOLoss: orpo,
  GKDLoss: gkd,
  InfonceLoss: infonce,
} as const satisfies Readonly<Record<string, CatalogueLoss>>

export type CatalogueLossName = keyof typeof CATALOGUE_LOSSES

export const isCatalogueLoss = (name: string): name is CatalogueLossName => Object.hasOwn(CATALOGUE_LOSSES, name)

export const catalogueLoss = (name: CatalogueLossName): CatalogueLoss => CATALOGUE_LOSSES[name]

/** Classes of Twinkle's that are refused, with their short names and why. */
export const REFUSED_LOSSES: Readonly<Record<string, { readonly key: string; readonly reason: string }>> = {
  MSELoss: {
    key: 'mse',
    reason: 'it is a loss of raw outputs, and engines here give gradients of log-probabilities and embeddings alone',
  },
  PPOValueLoss: {
    key: 'ppo_value',
    reason: 'it trains a value head on hidden states, and engines here have the vocabulary as their only output',
  },
}

/** A loss with its settings complete: plain data. */
export interface CatalogueLossSpec {
  readonly name: CatalogueLossName
  readonly config: Settings
}

/** Throws CatalogueError for a name that is not known or not computed here, or for arguments that it cannot take. */
export function resolveCatalogueLoss(name: string, kwargs: Kwargs = {}): CatalogueLossSpec {
  const loss = find(name)
  const args = new Arguments('loss', loss.name, kwargs)
  const config = loss.settings(args)
  args.end()
  return { name: loss.name as CatalogueLossName, config }
}

function find(name: string): CatalogueLoss {
  if (isCatalogueLoss(name)) return CATALOGUE_LOSSES[name]
  const byKey = Object.values<CatalogueLoss>(CATALOGUE_LOSSES).find(({ key }) => key === name)
  if (byKey) return byKey
  const names = Object.keys(CATALOGUE_LOSSES)
  const refused = Object.entries(REFUSED_LOSSES).find(([known, { key }]) => known === name || key === name)
  throw refused ? unsupportedName('loss', refused[0], refused[1].reason, names) : unknownName('loss', name, names)
}

/** What a Twinkle server trains with where nobody has set a loss. */
export const DEFAULT_LOSS: CatalogueLossSpec = resolveCatalogueLoss('CrossEntropyLoss', { reduction: 'sum' })

/** Whether the datums have all that the loss reads, so that it has a value. */
export function canEvaluate({ name, config }: CatalogueLossSpec, datums: readonly LossDatum[]): boolean {
  const loss = catalogueLoss(name)
  const isWhole = (datum: LossDatum) => loss.required.every((input) => datum[input]) && !loss.problem?.(datum, config)
  return datums.every(isWhole) && !loss.problemOfAll?.(datums, config)
}

/**
 * What gradients of this loss are to be divided by, as whoever clips them wants to know: for a sum the tokens it counted (at
 * least 1), for a mean 0, which stands for the number of accumulated batches.
 */
export function lossTokens({ name, config }: CatalogueLossSpec, datums: readonly LossDatum[]): number {
  return catalogueLoss(name).reduction(config) === 'sum' ? Math.max(1, totalCounted(datums)) : 0
}
