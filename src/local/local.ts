// The one server that this program has for itself: its settings, its connection, and its end with the program.

import { Connection } from '../client/twinkle/connection.ts'
import { LocalError } from './errors.ts'
import { LocalModels } from './models.ts'
import { type LocalOptions, LocalRoom } from './room.ts'

interface Local {
  readonly room: LocalRoom
  readonly connection: Connection
}

let options: LocalOptions = {}
let current: Local | null = null

/** Before the first model, sampler or data set is made. Throws LocalError afterwards. */
export function configureLocal(settings: LocalOptions): void {
  if (current) {
    throw new LocalError('configureLocal came after something was made here. Next: call it first, or after closeLocal.')
  }
  options = settings
}

/** Ends what computes here, and waits for it; what is made afterwards begins anew. A program that ends does it by itself. */
export async function closeLocal(): Promise<void> {
  const ending = current
  current = null
  options = {}
  process.off('beforeExit', closeLocal)
  ending?.connection.close()
  await ending?.room.close()
}

export const localConnection = (): Connection => local().connection

/** The name by which this process serves a model. Throws LocalError for a path that comes too late. */
export function servedName(modelId: string): string {
  const { room } = local()
  const { name, isNew } = room.models.nameOf(modelId)
  if (isNew && room.hasStarted) {
    throw new LocalError(
      `${modelId} comes after the first call, when all models have been opened. Next: make it before, or name it first: configureLocal({ models: { ${JSON.stringify(name)}: ${JSON.stringify(modelId)} } }).`,
    )
  }
  return name
}

function local(): Local {
  current ??= begin()
  return current
}

function begin(): Local {
  const room = new LocalRoom(options, new LocalModels(options.models))
  // The address and key are the room's: it puts them in.
  const connection = new Connection({ baseUrl: 'http://in-this-process', fetch: (request) => room.fetch(request) })
  // Comes when the program has nothing else to do.
  process.once('beforeExit', closeLocal)
  return { room, connection }
}
