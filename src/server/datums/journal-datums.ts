// The datums of an operation in the journal of a state directory, by its request id or as the newest of a model, with what
// the model answered. It reads, also while a server works there.

import { serviceError } from '../errors.ts'
import { journalledWork } from '../services/journalled-work.ts'
import { Blobs, TornBlob } from '../store/blobs.ts'
import { type DatabasePlace, readDatabase } from '../store/database.ts'
import { decodeTrainingReply } from '../wire/reply.ts'
import { type ShownData, shownDatum } from './shown-datum.ts'

export const isModelId = (text: string): boolean => /:train:\d+$/.test(text)

/**
 * @param id a request's, or a model's: its newest forward or forward_backward
 * Throws STORAGE, UNKNOWN_FUTURE, UNKNOWN_MODEL_ID, NO_DATUMS (of another kind), CALL_EXPIRED, CALL_LOST.
 */
export async function journalDatums(place: DatabasePlace, id: string): Promise<ShownData> {
  const row = await operation(place, id)
  if (!row && isModelId(id)) throw serviceError('UNKNOWN_MODEL_ID', { id })
  if (!row) throw serviceError('UNKNOWN_FUTURE', { id })
  if (row.kind !== 'forward' && row.kind !== 'forward_backward') throw serviceError('NO_DATUMS', { id, kind: row.kind })
  const blobs = new Blobs(place.stateDir)
  const payload = await blobs.get({ inline: row.payload, file: row.payload_file }).catch((cause) => {
    throw cause instanceof TornBlob ? serviceError('CALL_LOST', { id }, { cause }) : cause
  })
  if (!payload) throw serviceError('CALL_EXPIRED', { id })
  const work = journalledWork(row, payload)
  if (work.kind !== 'train') throw serviceError('NO_DATUMS', { id, kind: row.kind })
  const answer = row.result_type === 'training' ? await blobs.get({ inline: row.result, file: row.result_file }) : null
  const logprobs = answer ? decodeTrainingReply(answer).logprobs : []
  return {
    source: row.id,
    loss: work.item.loss.name,
    baseModel: row.base_model,
    datums: work.item.datums.map((datum, i) => shownDatum(datum, logprobs[i])),
  }
}

async function operation(place: DatabasePlace, id: string) {
  const db = await readDatabase(place)
  try {
    const operations = db
      .selectFrom('operations')
      .leftJoin('runs', 'runs.id', 'operations.subject')
      .selectAll('operations')
      .select('runs.base_model')
    if (!isModelId(id)) return await operations.where('operations.id', '=', id).executeTakeFirst()
    return await operations
      .where('operations.subject', '=', id)
      .where('operations.kind', 'in', ['forward', 'forward_backward'])
      .orderBy('operations.created_at', 'desc')
      .orderBy('operations.seq', 'desc')
      .executeTakeFirst()
  } finally {
    await db.destroy()
  }
}
