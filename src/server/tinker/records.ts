// How rows look on the wire: training runs, checkpoints, pages, times.

import type { Schemas } from '../../generated/operations.ts'
import type { Page, RunRecord } from '../services/catalog.ts'
import { type Checkpoint, tinkerPath } from '../services/checkpoints.ts'

const TYPES = { weights: 'training', sampler_weights: 'sampler', external_weights: 'external' } as const

export const isoTime = (ms: number): string => new Date(ms).toISOString()

export function checkpointRecord(row: Checkpoint): Schemas['Checkpoint'] {
  return {
    checkpoint_id: `${row.kind}/${row.name}`,
    checkpoint_type: TYPES[row.kind],
    time: isoTime(row.created_at),
    tinker_path: tinkerPath(row),
    size_bytes: row.bytes,
    public: row.published === 1,
    user_metadata: JSON.parse(row.user_metadata),
    expires_at: row.expires_at === null ? null : isoTime(row.expires_at),
  }
}

export function runRecord({ run, lastCheckpoint, lastSamplerCheckpoint }: RunRecord): Schemas['TrainingRun'] {
  return {
    training_run_id: run.id,
    base_model: run.base_model,
    model_owner: run.tenant,
    is_lora: true,
    lora_rank: run.rank,
    // Weights that would not be numbers are never applied, so a run cannot become corrupted.
    corrupted: false,
    last_request_time: isoTime(run.last_request_at),
    last_checkpoint: lastCheckpoint && checkpointRecord(lastCheckpoint),
    last_sampler_checkpoint: lastSamplerCheckpoint && checkpointRecord(lastSamplerCheckpoint),
    user_metadata: JSON.parse(run.user_metadata),
  }
}

export function cursorOf({ offset, limit, total }: Page<unknown>): Schemas['Cursor'] {
  return { offset, limit, total_count: total }
}
