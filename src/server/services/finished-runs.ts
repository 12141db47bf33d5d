// Rows of training runs that have never been live: what a copied or an imported checkpoint belongs to.

import { randomUUID } from 'node:crypto'
import type { Transaction } from 'kysely'
import { serviceError } from '../errors.ts'
import type { Database } from '../store/schema.ts'
import type { Run } from './runs.ts'

/** A project or none, or a number of a session that is open. */
export type Destination =
  | { readonly projectId: string | null }
  | { readonly sessionId: string; readonly modelSeqId: number }

type Shape = Pick<Run, 'base_model' | 'rank' | 'alpha' | 'train_attention' | 'train_mlp' | 'train_unembed'>

/** Gives its id. Throws SEQ_CONFLICT when the number was used. */
export async function insertFinishedRun(
  trx: Transaction<Database>,
  tenant: string,
  destination: Destination,
  shape: Shape,
  origin: { readonly parent: string | null; readonly madeBy: string },
): Promise<string> {
  const session =
    'sessionId' in destination ? destination.sessionId : await insertFinishedSession(trx, tenant, destination, origin)
  const id = `${session}:train:${'modelSeqId' in destination ? destination.modelSeqId : 0}`
  const taken = await trx.selectFrom('runs').select('id').where('id', '=', id).executeTakeFirst()
  if (taken) throw serviceError('SEQ_CONFLICT', { identity: `model:${id}` })
  const now = Date.now()
  await trx
    .insertInto('runs')
    .values({
      id,
      tenant,
      session,
      base_model: shape.base_model,
      rank: shape.rank,
      alpha: shape.alpha,
      seed: '0',
      train_attention: shape.train_attention,
      train_mlp: shape.train_mlp,
      train_unembed: shape.train_unembed,
      user_metadata: '{}',
      parent: origin.parent,
      state: 'unloaded',
      restart_folder: null,
      restart_position: 0,
      used_through: 0,
      created_at: now,
      last_request_at: now,
    })
    .execute()
  return id
}

/** A session that nobody keeps alive: it is there so that the run has one, and with it a project. */
async function insertFinishedSession(
  trx: Transaction<Database>,
  tenant: string,
  { projectId }: { readonly projectId: string | null },
  { madeBy }: { readonly madeBy: string },
): Promise<string> {
  const id = randomUUID()
  const now = Date.now()
  await trx
    .insertInto('sessions')
    .values({
      id,
      tenant,
      tags: '[]',
      user_metadata: '{}',
      sdk_version: null,
      project_id: projectId,
      display_name: null,
      created_at: now,
      heartbeat_at: now,
      state: 'finished',
      finish_reason: 'success',
      finish_detail: `made by ${madeBy}`,
    })
    .execute()
  return id
}
