// How rows look in Twinkle's protocol: training runs, checkpoints, paths.

import type { Schemas } from '../../generated/operations.ts'
import type { RunRecord } from '../services/catalog.ts'
import { type Checkpoint, tinkerPath } from '../services/checkpoints.ts'
import { isoTime } from '../tinker/records.ts'

/** The same place under Twinkle's name. */
export const twinklePath = (row: Parameters<typeof tinkerPath>[0]): string => underTwinkle(tinkerPath(row))

export const underTwinkle = (path: string): string => path.replace(/^tinker:/, 'twinkle:')

/** What a checkpoint lists as: external weights, which Twinkle does not know, are for sampling. */
export function checkpointRecord(row: Checkpoint): Schemas['TwinkleCheckpoint'] {
  return {
    checkpoint_id: `${row.kind}/${row.name}`,
    checkpoint_type: row.kind === 'weights' ? 'training' : 'sampler',
    time: isoTime(row.created_at),
    size_bytes: Number(row.bytes),
    public: row.published === 1,
    twinkle_path: twinklePath(row),
    base_model: row.base_model,
    is_lora: true,
    lora_rank: row.rank,
    train_unembed: row.train_unembed === 1,
    train_mlp: row.train_mlp === 1,
    train_attn: row.train_attention === 1,
    user_metadata: JSON.parse(row.user_metadata),
  }
}

export function runRecord({ run, lastCheckpoint, lastSamplerCheckpoint }: RunRecord): Schemas['TwinkleRun'] {
  return {
    training_run_id: run.id,
    base_model: run.base_model,
    model_owner: run.tenant,
    save_dir: null,
    is_lora: true,
    corrupted: false,
    lora_rank: run.rank,
    last_request_time: isoTime(Number(run.last_request_at)),
    last_checkpoint: lastCheckpoint && checkpointRecord(lastCheckpoint),
    last_sampler_checkpoint: lastSamplerCheckpoint && checkpointRecord(lastSamplerCheckpoint),
    user_metadata: JSON.parse(run.user_metadata),
  }
}
