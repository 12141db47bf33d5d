// Objects of Twinkle's processor routes: data sets, loaders and the like, made and called by name. What they are is the
// catalogue's; here is whose they are, how long they last, and that long work lets others through. An object in memory is a
// copy: its recipe (processor-recipes.ts) is what lasts, so a restart loses no object and no place in an iteration.

import type { Kwargs } from '../../catalogue/arguments.ts'
import { type CatalogueObject, callObject, END, type World } from '../../catalogue/object.ts'
import { createObject } from '../../catalogue/objects.ts'
import type { Pace } from '../../catalogue/pace.ts'
import { serviceError } from '../errors.ts'
import { Alarm } from './alarm.ts'
import type { DataSources } from './data-sources.ts'
import { bareModelName, type ModelTemplates } from './model-templates.ts'
import { type Holding, type MemoryBounds, ProcessorMemory } from './processor-memory.ts'
import type { Called, Made, ProcessorRecipes, ProcessorRow } from './processor-recipes.ts'
import { TurnsBetween } from './turns-between.ts'
import type { Party, TwinkleOwners } from './twinkle-owners.ts'

export interface ProcessorParts {
  readonly recipes: ProcessorRecipes
  readonly owners: TwinkleOwners
  readonly templates: ModelTemplates
  readonly sources: DataSources
  readonly memory: MemoryBounds
  /** Objects of one tenant. */
  readonly limit: number
  /** Other servers may use the same state directory. */
  readonly isShared: boolean
  readonly log: (cause: unknown) => void
}

/** Upstream's, per token. */
export const PROCESSOR_LIMIT = 20
/** How long an object outlives its session. */
const GRACE_MS = 30 * 60_000
const LOOK_EVERY_MS = 5 * 60_000

/** Calls that change what an object is; those that move its iteration; all others leave it as it is. */
const CHANGING: ReadonlySet<string> = new Set(
  'set_template map filter encode check add_dataset mix_dataset pack_dataset set_processor'.split(' '),
)
const MOVING: ReadonlySet<string> = new Set('__iter__ __next__ skip_consumed_samples resume_from_checkpoint'.split(' '))

interface Entry extends Holding {
  /** Empty until it has a row. */
  id: string
  readonly object: CatalogueObject
  /** Of the row that it was made from, or brought to. */
  steps: number
  position: string | null
  /** Objects that it holds on to. */
  readonly uses: readonly Entry[]
}

export class Processors {
  readonly #parts: ProcessorParts
  readonly #memory: ProcessorMemory
  /** By id, without `pid:`. */
  readonly #entries = new Map<string, Entry>()
  /** One call of a tenant at a time: objects hold on to each other. */
  readonly #lines = new Map<string, Promise<unknown>>()
  readonly #turns = new TurnsBetween()
  readonly #alarm = new Alarm(() => this.#look())
  #isClosing = false

  constructor(parts: ProcessorParts) {
    this.#parts = parts
    this.#memory = new ProcessorMemory(parts.memory, (holding) => this.#drop(holding as Entry))
  }

  async start(): Promise<void> {
    if (!this.#parts.isShared) await this.#parts.recipes.removeOrphans()
    this.#alarm.at(await this.#look())
  }

  /** Gives the id of the new object. Throws CatalogueError, PROCESSORS_FULL, and what reading data throws. */
  async create(party: Party, made: Made, signal: AbortSignal): Promise<string> {
    const { recipes, owners, limit } = this.#parts
    const session = await owners.session(party)
    await recipes.checkCount(party.tenant, limit)
    return this.#inLine(party.tenant, async () => {
      const entry = await this.#make(party.tenant, made, signal)
      const row = await recipes.add(party.tenant, session, made, limit).catch((cause) => {
        this.#memory.release(entry)
        throw cause
      })
      this.#keep(entry, row)
      return `pid:${row.id}`
    })
  }

  /** What the function gives, as JSON. Throws UNKNOWN_PROCESSOR, CatalogueError and ITERATOR_EXHAUSTED. */
  async call(party: Party, id: string, called: Called, signal: AbortSignal): Promise<unknown> {
    const { recipes, owners } = this.#parts
    await recipes.find(party.tenant, id)
    await owners.touch(party)
    return this.#inLine(party.tenant, async () => {
      const row = await recipes.find(party.tenant, id)
      await recipes.touch(row)
      const entry = await this.#entry(row, signal)
      const busy = [entry, ...entry.uses]
      for (const one of busy) one.isBusy = true
      try {
        return await this.#carryOut(entry, row, called, this.#pace(entry, signal))
      } catch (cause) {
        // It may have stopped half-way.
        if (CHANGING.has(called.function)) this.#drop(entry)
        throw cause
      } finally {
        for (const one of busy) one.isBusy = false
      }
    })
  }

  /** Objects of clients without a session are in use. Throws UNKNOWN_PROCESSOR when one of them is not there. */
  async heartbeat(party: Party, ids: readonly string[]): Promise<void> {
    await this.#parts.owners.touch(party)
    for (const id of ids) await this.#parts.recipes.touch(await this.#parts.recipes.find(party.tenant, id))
  }

  async #carryOut(entry: Entry, row: ProcessorRow, called: Called, pace: Pace): Promise<unknown> {
    const { recipes } = this.#parts
    const { function: name, kwargs } = called
    const result = await callObject(entry.object, name, kwargs, pace)
    if (CHANGING.has(name) || (name === 'save_as' && kwargs.mode === 'training')) await recipes.note(row, called)
    if (MOVING.has(name)) await recipes.stand(row, entry.object.iteration?.position())
    entry.steps = row.steps
    entry.position = row.position
    if (result === END) throw serviceError('ITERATOR_EXHAUSTED', { id: `pid:${row.id}` })
    return result
  }

  /** As it is in memory, or made anew where it is not, or where another server has changed it. */
  async #entry(row: ProcessorRow, signal: AbortSignal): Promise<Entry> {
    const known = this.#entries.get(row.id)
    if (known && isCurrent(known, row) && known.uses.every((used) => this.#entries.get(used.id) === used)) {
      this.#memory.touch(known)
      return known
    }
    if (known) this.#drop(known)
    const { made, calls } = await this.#parts.recipes.read(row)
    const entry = await this.#make(row.tenant, made, signal)
    try {
      const pace = this.#pace(entry, signal)
      for (const { function: name, kwargs } of calls) await callObject(entry.object, name, kwargs, pace)
      if (row.position !== null) entry.object.iteration?.restore(JSON.parse(row.position))
    } catch (cause) {
      this.#memory.release(entry)
      throw cause
    }
    this.#keep(entry, row)
    return entry
  }

  /** Its memory is counted, and it stays until it is kept or released. */
  async #make(tenant: string, { type, className, kwargs }: Made, signal: AbortSignal): Promise<Entry> {
    const uses: Entry[] = []
    for (const id of referencesIn(kwargs))
      uses.push(await this.#entry(await this.#parts.recipes.find(tenant, id), signal))
    const entry = { tenant, id: '', isBusy: true, held: 0, steps: 1, position: null, uses }
    const byId = (wanted: string) => {
      const used = uses.find((one) => `pid:${one.id}` === wanted)
      if (!used) throw serviceError('UNKNOWN_PROCESSOR', { id: wanted })
      return used.object
    }
    const making = { className, kwargs, world: this.#world(tenant), object: byId, pace: this.#pace(entry, signal) }
    try {
      return Object.assign(entry, { object: await createObject(type, making) })
    } catch (cause) {
      this.#memory.release(entry)
      throw cause
    }
  }

  #keep(entry: Entry, row: ProcessorRow): void {
    Object.assign(entry, { id: row.id, steps: row.steps, position: row.position, isBusy: false })
    this.#entries.set(row.id, entry)
    this.#memory.touch(entry)
  }

  /** What holds on to it goes with it: else it would stay in memory. */
  #drop(entry: Entry): void {
    if (this.#entries.get(entry.id) !== entry) return
    this.#entries.delete(entry.id)
    this.#memory.release(entry)
    for (const other of this.#entries.values()) if (other.uses.includes(entry)) this.#drop(other)
  }

  #pace(entry: Holding, signal: AbortSignal): Pace {
    const turn = this.#turns.job()
    return {
      rest: async () => {
        await turn()
        if (signal.aborted) throw serviceError('CANCELLED', { what: 'The call' })
        if (this.#isClosing) throw serviceError('SHUTTING_DOWN')
      },
      hold: (bytes) => this.#memory.hold(entry, bytes),
    }
  }

  #world(tenant: string): World {
    const { templates, sources } = this.#parts
    return {
      template: (name, kwargs) => templates.create(modelOf(name, kwargs), name, kwargs),
      rows: (meta, pace) => sources.rows(tenant, meta, pace),
      save: (path, lines) => sources.save(tenant, path, lines),
    }
  }

  #inLine<T>(tenant: string, work: () => Promise<T>): Promise<T> {
    const before = this.#lines.get(tenant) ?? Promise.resolve()
    const result = before.then(work)
    const settled = result.catch(() => {})
    this.#lines.set(tenant, settled)
    void settled.then(() => {
      if (this.#lines.get(tenant) === settled) this.#lines.delete(tenant)
    })
    return result
  }

  /** Objects whose session is over, and files that nobody wants. */
  async #look(): Promise<number> {
    try {
      for (const id of await this.#parts.recipes.removeOver(Date.now() - GRACE_MS)) {
        const entry = this.#entries.get(id)
        if (entry) this.#drop(entry)
      }
      await this.#parts.sources.tidy()
    } catch (cause) {
      this.#parts.log(cause)
    }
    return Date.now() + LOOK_EVERY_MS
  }

  /** Settles when nothing is worked on. */
  async close(): Promise<void> {
    this.#isClosing = true
    this.#alarm.close()
    await Promise.all(this.#lines.values())
  }
}

const isCurrent = (entry: Entry, row: ProcessorRow) => entry.steps === row.steps && entry.position === row.position

/** Ids of other objects stand where values do. */
function referencesIn(kwargs: Kwargs): string[] {
  const ids = Object.values(kwargs).filter(
    (value): value is string => typeof value === 'string' && value.startsWith('pid:'),
  )
  return [...new Set(ids)]
}

function modelOf(template: string, { model_id: model }: Kwargs): string {
  if (typeof model === 'string' && model !== '') return bareModelName(model)
  throw serviceError('NO_TEMPLATE_MODEL', { template })
}
