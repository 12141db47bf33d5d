// From a row of the journal back to the work that it stands for, as it was when its submission was acknowledged. What is
// written here must be readable by later versions: the payloads are training.ts's.

import type { ClipSettings, LossSpec, OptimSettings } from '../../backends/backend.ts'
import { resolveLoss } from '../../backends/losses.ts'
import { isCatalogueLoss } from '../../catalogue/losses/catalogue.ts'
import type { TrainingCall } from '../calls.ts'
import type { OperationRow } from '../store/journal.ts'
import { decodeJournalledTraining } from '../wire/training.ts'
import type { NewCheckpoint } from './checkpoints.ts'
import type { Restore, RunWork } from './run-operation.ts'

/** `payload` is that of the row. Throws for kinds that are no work on a run. */
export function journalledWork(row: Pick<OperationRow, 'id' | 'kind' | 'subject'>, payload: Uint8Array): RunWork {
  const adapter = row.subject ?? ''
  switch (row.kind) {
    case 'create_model': {
      const { from } = json<{ from?: Restore }>(payload)
      return { kind: 'create_model', ...(from && { from }) }
    }
    case 'forward':
    case 'forward_backward':
      return trainingWork(row.id, adapter, payload)
    case 'clip_gradients':
      return { kind: 'clip_gradients', clip: json<ClipSettings>(payload) }
    case 'zero_grad':
      return { kind: 'zero_grad' }
    case 'optim_step':
      return {
        kind: 'optim_step',
        step: { ...json<OptimSettings>(payload), operation: row.id, adapter },
      }
    case 'save_weights':
      return { kind: 'save', checkpoint: json<NewCheckpoint>(payload) }
    case 'save_weights_for_sampler':
      return json<RunWork>(payload)
    case 'load_weights':
      return { kind: 'load_weights', from: json<{ from: Restore }>(payload).from }
    case 'unload_model':
      return { kind: 'unload_model' }
    default:
      throw new TypeError(`an operation of kind ${row.kind} is no work on a run`)
  }
}

function trainingWork(operation: string, adapter: string, payload: Uint8Array): RunWork {
  const call = decodeJournalledTraining(payload)
  const loss = lossOfCall(call)
  return {
    kind: 'train',
    item: { operation, adapter, backward: !call.forwardOnly, loss, datums: call.datums },
    matrix: call.matrix,
  }
}

/**
 * The loss that a call names. Losses of Twinkle's catalogue are settings of an adapter: what comes here has been resolved and is
 * complete. Throws EngineError UNSUPPORTED_LOSS or INVALID_INPUT.
 */
export function lossOfCall({ family, lossName: name, lossConfig: config }: TrainingCall): LossSpec {
  return family === 'twinkle' && isCatalogueLoss(name) ? { name, config } : resolveLoss(name, config)
}

function json<T>(bytes: Uint8Array): T {
  return JSON.parse(new TextDecoder().decode(bytes)) as T
}
