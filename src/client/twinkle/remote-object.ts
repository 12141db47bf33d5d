// An object of the catalogue that lives on a server: made by name, called by name, gone with its session. Another object as an
// argument goes as its id.

import { resultOf, shaped } from './answers.ts'
import type { CallOptions, Connection } from './connection.ts'
import { StatusError } from './errors.ts'
import { type Kwargs, snakeKeys } from './names.ts'

/** Of `processor/create`. */
export type RemoteKind =
  | 'dataset'
  | 'dataloader'
  | 'preprocessor'
  | 'processor'
  | 'reward'
  | 'template'
  | 'weight_loader'

/** Ends an iteration. */
const EXHAUSTED = 410

export class RemoteObject {
  readonly #connection: Connection
  readonly #id: Promise<string>

  constructor(connection: Connection, kind: RemoteKind, className: string, kwargs: Kwargs) {
    this.#connection = connection
    this.#id = this.#make(kind, className, kwargs)
    // Whoever calls it hears of a failure; who never does is not to be ended by it.
    this.#id.catch(() => {})
  }

  /** `pid:...` */
  get id(): Promise<string> {
    return this.#id
  }

  async call(name: string, kwargs: Kwargs = {}, options: CallOptions = {}): Promise<unknown> {
    const body = { ...(await withIds(kwargs)), processor_id: await this.#id, function: name }
    const answer = await this.#connection.send(
      (api, signal) => api.POST('/api/v1/processor/twinkle/call', { body, ...(signal ? { signal } : {}) }),
      { ...options, isSafe: false },
    )
    return resultOf(name, answer)
  }

  /** From the beginning, until the server says that there is no more. */
  async *iterate<T>(options: CallOptions = {}): AsyncIterator<T> {
    await this.call('__iter__', {}, options)
    for (;;) {
      try {
        yield (await this.call('__next__', {}, options)) as T
      } catch (error) {
        if (error instanceof StatusError && error.status === EXHAUSTED) return
        throw error
      }
    }
  }

  async #make(kind: RemoteKind, className: string, kwargs: Kwargs): Promise<string> {
    const body = { ...(await withIds(kwargs)), processor_type: kind, class_type: className }
    const made = await this.#connection.send((api) => api.POST('/api/v1/processor/twinkle/create', { body }), {
      isSafe: false,
    })
    return shaped('processor/create', made, { processor_id: 'string' }).processor_id
  }
}

/** Something that stands for a remote object. */
export interface HasRemote {
  readonly remote: RemoteObject
}

async function withIds(kwargs: Kwargs): Promise<Record<string, unknown>> {
  const entries = Object.entries(kwargs).map(async ([key, value]) => {
    const remote = (value as Partial<HasRemote> | null | undefined)?.remote
    return [key, remote instanceof RemoteObject ? await remote.id : value] as const
  })
  return snakeKeys(Object.fromEntries(await Promise.all(entries)))
}
