// One acknowledged operation on a training run, decoded and on its way to the engine. Data only.

import type { ClipSettings, OptimStep, TrainingItem } from '../../backends/backend.ts'
import type { BatchClass, Schedulable } from '../scheduler/tenant.ts'
import type { Checkpoint, NewCheckpoint } from './checkpoints.ts'
import type { Run } from './runs.ts'

export type RunWork =
  | { readonly kind: 'create_model'; readonly from?: Restore }
  | { readonly kind: 'train'; readonly item: TrainingItem; readonly matrix: readonly boolean[] }
  | { readonly kind: 'clip_gradients'; readonly clip: ClipSettings }
  | { readonly kind: 'zero_grad' }
  | { readonly kind: 'optim_step'; readonly step: OptimStep }
  | { readonly kind: 'save'; readonly checkpoint: NewCheckpoint }
  /** Weights for a sampling session without a name. In flight: the session goes on to weights that are saved so later. */
  | { readonly kind: 'save_ephemeral'; readonly samplingSession: string; readonly isInflight?: boolean }
  | { readonly kind: 'load_weights'; readonly from: Restore }
  | { readonly kind: 'unload_model' }

export interface Restore {
  readonly checkpoint: Checkpoint
  readonly path: string
  readonly optimizer: boolean
}

export interface RunOperation extends Schedulable {
  /** The request id; null for work of the server's own, which nobody waits for. */
  readonly id: string | null
  readonly run: Run
  readonly work: RunWork
}

export function runOperation(id: string | null, run: Run, work: RunWork): RunOperation {
  const tokens = tokensOf(work)
  return { id, run, work, batchClass: batchClass(work), tokens, cost: costOf(run, work, tokens) }
}

function batchClass(work: RunWork): BatchClass {
  if (work.kind === 'train') return 'train'
  return work.kind === 'optim_step' ? 'optim' : 'single'
}

/** A micro-batch holds few adapter columns, so a pass of a high rank takes a good part of one however short it is. */
const TOKENS_PER_RANK = 8

function costOf(run: Run, work: RunWork, tokens: number): number {
  return work.kind === 'train' ? Math.max(tokens, TOKENS_PER_RANK * run.rank) : 0
}

function tokensOf(work: RunWork): number {
  return work.kind === 'train' ? work.item.datums.reduce((sum, d) => sum + d.tokens.length, 0) : 0
}
