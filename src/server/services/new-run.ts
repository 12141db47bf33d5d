// The row of a training run that is about to be created: from what a client asked for, or from a checkpoint. What cannot be
// is refused here. Knows shapes and limits; writes nothing.

import { randomBytes } from 'node:crypto'
import { serviceError } from '../errors.ts'
import type { Checkpoint } from './checkpoints.ts'
import type { Run } from './runs.ts'

/** LoRA's scale on the Tinker wire is alpha / rank with this alpha; clients cannot choose it. */
const TINKER_ALPHA = 32
/** The SDK's own default of create_lora_training_client, for callers that leave the configuration out. */
const DEFAULT_RANK = 32

export interface NewRun {
  readonly sessionId: string
  readonly modelSeqId: number
  readonly baseModel: string
  readonly rank?: number
  readonly seed?: string
  readonly trainAttention: boolean
  readonly trainMlp: boolean
  readonly trainUnembed: boolean
  readonly userMetadata: Readonly<Record<string, string>>
}

export interface ResumedRun {
  readonly sessionId: string
  readonly modelSeqId: number
  readonly path: string
  readonly optimizer: boolean
  readonly baseModel?: string
  readonly userMetadata: Readonly<Record<string, string>>
}

/** Throws INVALID_RANK and NOTHING_TO_TRAIN. */
export function newRun(tenant: string, call: NewRun, maxRank: number): Run {
  const rank = call.rank ?? DEFAULT_RANK
  if (!Number.isInteger(rank) || rank < 1 || rank > maxRank) {
    throw serviceError('INVALID_RANK', { rank, max: maxRank })
  }
  if (!call.trainAttention && !call.trainMlp && !call.trainUnembed) throw serviceError('NOTHING_TO_TRAIN')
  return runOf(tenant, call, {
    base_model: call.baseModel,
    rank,
    alpha: TINKER_ALPHA,
    seed: call.seed ?? drawSeed(),
    train_attention: call.trainAttention ? 1 : 0,
    train_mlp: call.trainMlp ? 1 : 0,
    train_unembed: call.trainUnembed ? 1 : 0,
    parent: null,
  })
}

export interface AdapterRun extends Omit<NewRun, 'modelSeqId'> {
  readonly id: string
  readonly alpha: number
  readonly rank: number
}

/** A run of Twinkle's protocol, whose clients choose alpha. Throws INVALID_RANK and NOTHING_TO_TRAIN. */
export function adapterRun(tenant: string, call: AdapterRun, maxRank: number): Run {
  const run = newRun(tenant, { ...call, modelSeqId: 0 }, maxRank)
  return { ...run, id: call.id, alpha: call.alpha, protocol: 'twinkle' }
}

/** Rank and switches come from the checkpoint. Throws CHECKPOINT_MISMATCH and NO_OPTIMIZER_STATE. */
export function resumedRun(tenant: string, call: ResumedRun, checkpoint: Checkpoint): Run {
  const { path, baseModel, optimizer } = call
  if (baseModel !== undefined && baseModel !== checkpoint.base_model) {
    const reason = `it belongs to base model ${checkpoint.base_model}, not ${baseModel}`
    throw serviceError('CHECKPOINT_MISMATCH', { path, reason })
  }
  if (optimizer && !checkpoint.has_optimizer) throw serviceError('NO_OPTIMIZER_STATE', { path })
  const { base_model, rank, alpha, train_attention, train_mlp, train_unembed } = checkpoint
  const shape = { base_model, rank, alpha, train_attention, train_mlp, train_unembed }
  return runOf(tenant, call, { ...shape, seed: drawSeed(), parent: path })
}

function runOf(
  tenant: string,
  call: { sessionId: string; modelSeqId: number; userMetadata: Readonly<Record<string, string>> },
  shape: Pick<
    Run,
    'base_model' | 'rank' | 'alpha' | 'seed' | 'train_attention' | 'train_mlp' | 'train_unembed' | 'parent'
  >,
): Run {
  const now = Date.now()
  return {
    // The SDK computes this id by itself when it resumes (0.38): the form is part of the protocol.
    id: `${call.sessionId}:train:${call.modelSeqId}`,
    tenant,
    session: call.sessionId,
    ...shape,
    user_metadata: JSON.stringify(call.userMetadata),
    state: 'creating',
    restart_folder: null,
    restart_position: 0,
    used_through: 0,
    created_at: now,
    last_request_at: now,
    protocol: 'tinker',
  }
}

/** 63 bits, so that it fits signed readers too. */
export function drawSeed(): string {
  return (randomBytes(8).readBigUInt64LE() >> 1n).toString()
}
