// Which runs have their adapter in an engine now, and how the others get it back: the restart point's weights and optimiser
// state, then every operation that changed the adapter since, by its journalled plan and so with the same bits. Nothing is
// brought back before somebody needs it, and what nobody has used for longest gives its place to what is needed. Knows
// engines and the journal; answers nobody. Who goes, adapter-room.ts says.

import {
  type ClipResult,
  type ClipSettings,
  type Engine,
  EngineError,
  type OptimStep,
  type TrainingItem,
} from '../../backends/backend.ts'
import { serviceError, toServiceError } from '../errors.ts'
import type { Journal, OperationRow } from '../store/journal.ts'
import { AdapterRoom, type LiveAdapter, type RoomSize } from './adapter-room.ts'
import { type Checkpoints, isUnreadable, unreadable } from './checkpoints.ts'
import { isEngineLoss, staysInJournal } from './engine-loss.ts'
import { journalledWork } from './journalled-work.ts'
import type { RestartPoints, Transact } from './restart-points.ts'
import type { Restore } from './run-operation.ts'
import { loraConfig, type Run, type Runs } from './runs.ts'

export interface LiveAdapterParts {
  readonly journal: Journal
  readonly runs: Runs
  readonly checkpoints: Checkpoints
  readonly restartPoints: RestartPoints
  /** Of each engine. */
  readonly room: RoomSize
  /** For the operator: what came and went, and what could not be repeated bit for bit. */
  readonly log: (line: string) => void
}

type Fill = (live: LiveAdapter) => Promise<void>

/** Weights, gradient and two moments, in float32. */
const BYTES_PER_PARAMETER = 16

export class LiveAdapters {
  readonly #parts: LiveAdapterParts
  readonly #rooms = new WeakMap<Engine, AdapterRoom>()
  /** One adapter at a time is moved in an engine. */
  readonly #moves = new WeakMap<Engine, Promise<unknown>>()
  constructor(parts: LiveAdapterParts) {
    this.#parts = parts
  }

  /** Makes a new run's adapter, in use until it is let go. `transact` is for what is written on the way, here and below. */
  async create(engine: Engine, run: Run, transact: Transact, from?: Restore): Promise<void> {
    const fill = async () => {
      if (from) await this.load(engine, run.id, from)
    }
    await this.#enter(engine, run, transact, fill)
  }

  async load(engine: Engine, run: string, { checkpoint, path, optimizer }: Restore): Promise<void> {
    if (optimizer && !checkpoint.has_optimizer) throw serviceError('NO_OPTIMIZER_STATE', { path })
    const folder = this.#parts.checkpoints.absolute(checkpoint.folder)
    try {
      await engine.loadAdapter(run, folder, optimizer ? 'weights+optimizer' : 'weights')
    } catch (cause) {
      throw unreadable(cause, path)
    }
  }

  /** The run is over. */
  async release(engine: Engine, run: string): Promise<void> {
    await this.#alone(engine, async () => {
      const room = this.#roomOf(engine)
      const live = room.get(run)
      if (!live) return
      await engine.releaseAdapter(run)
      room.leave(live)
    })
  }

  /**
   * Brings the adapter back where it is missing, and keeps it until it is let go. Waits while others use all the places that
   * there are. Throws MODEL_GONE for a run that has ended.
   */
  async use(engine: Engine, { tenant, id }: Run, transact: Transact): Promise<void> {
    const room = this.#roomOf(engine)
    const live = room.get(id)
    if (live && !live.isInUse) return room.use(live)
    const run = await this.#parts.runs.require(tenant, id)
    // Read again when it is its turn: it may just have been sent to disk, with a new restart point.
    await this.#enter(engine, run, transact, async (entered) =>
      this.#restore(engine, await this.#parts.runs.require(tenant, id), entered),
    )
  }

  letGo(engine: Engine, run: string): void {
    const room = this.#roomOf(engine)
    const live = room.get(run)
    if (live) room.letGo(live)
  }

  /** An operation changed the adapter, and left a gradient or used it up. */
  noteChange(engine: Engine, run: string, operation: string | null, hasGradient: boolean): void {
    const live = this.#roomOf(engine).get(run)
    if (live) Object.assign(live, { changedBy: operation, hasGradient })
  }

  /** There is a restart point of the adapter as it is. */
  noteRestartPoint(engine: Engine, run: string): void {
    this.noteChange(engine, run, null, false)
  }

  /** Gives the adapter a place and fills it, when there is one. What goes wrong leaves nothing in the engine. */
  async #enter(engine: Engine, run: Run, transact: Transact, fill: Fill): Promise<void> {
    for (;;) {
      // Asked before, so that nothing is missed in between.
      const changed = this.#roomOf(engine).changed()
      if (await this.#alone(engine, () => this.#tryToEnter(engine, run, transact, fill))) return
      await changed
    }
  }

  /** False when others use all places. */
  async #tryToEnter(engine: Engine, run: Run, transact: Transact, fill: Fill): Promise<boolean> {
    const room = this.#roomOf(engine)
    const known = room.get(run.id)
    if (known) {
      // It was to go to disk when it was asked for, and could not.
      if (known.isInUse) return false
      room.use(known)
      return true
    }
    while (room.isFull) if (!(await this.#makeRoom(engine, transact))) return false
    const live = await this.#place(engine, run, transact)
    if (!live) return false
    try {
      await fill(live)
    } catch (cause) {
      await engine.releaseAdapter(run.id).catch(() => {})
      room.leave(live)
      throw cause
    }
    while (room.isOver && (await this.#makeRoom(engine, transact)));
    return true
  }

  /** An engine that has less room than we thought says so: then others go until it has. */
  async #place(engine: Engine, run: Run, transact: Transact): Promise<LiveAdapter | null> {
    const room = this.#roomOf(engine)
    const isBusy = room.isAnyInUse
    const live = room.enter(run.id)
    for (;;) {
      try {
        const { parameters } = await engine.createAdapter(run.id, loraConfig(run))
        room.weigh(live, BYTES_PER_PARAMETER * parameters)
        return live
      } catch (cause) {
        const isFull = cause instanceof EngineError && cause.code === 'OUT_OF_MEMORY'
        if (isFull && (await this.#makeRoom(engine, transact))) continue
        room.withdraw(live)
        if (isFull && isBusy) return null
        throw cause
      }
    }
  }

  /** Sends one adapter to disk; false when all are in use. */
  async #makeRoom(engine: Engine, transact: Transact): Promise<boolean> {
    const { restartPoints, log } = this.#parts
    const room = this.#roomOf(engine)
    const live = room.next()
    if (!live) return false
    const { run, changedBy, hasGradient } = live
    live.isInUse = true
    try {
      // With a gradient, the journal alone brings it back: a longer way, to the same bits.
      if (changedBy !== null && !hasGradient) {
        await restartPoints.take(engine, run, changedBy, transact).catch((cause) => {
          if (isEngineLoss(cause) || staysInJournal(cause)) throw cause
          log(`no restart point of ${run} could be written: ${(cause as Error).message}`)
        })
      }
      await engine.releaseAdapter(run)
      room.leave(live)
    } catch (cause) {
      room.letGo(live)
      throw cause
    }
    log(`sent ${run} to disk`)
    return true
  }

  async #restore(engine: Engine, run: Run, live: LiveAdapter): Promise<void> {
    const { journal, checkpoints, log } = this.#parts
    if (run.restart_folder !== null) {
      const folder = checkpoints.absolute(run.restart_folder)
      await engine.loadAdapter(run.id, folder, 'weights+optimizer').catch((cause) => {
        throw isUnreadable(cause) ? notRestorable(run.id, 'its restart point', cause) : cause
      })
    }
    const rows = await journal.effectsAfter(run.id, run.restart_position)
    for (const row of rows) {
      await this.#repeat(engine, row)
      live.changedBy = row.id
      live.hasGradient = hasGradientAfter(row, live.hasGradient)
    }
    log(`brought ${run.id} back by ${rows.length} operations`)
  }

  async #repeat(engine: Engine, row: OperationRow): Promise<void> {
    const payload = await this.#parts.journal.payloadOf(row).catch((cause) => {
      if (toServiceError(cause).code !== 'CALL_LOST') throw cause
      throw notRestorable(row.subject ?? '', `its request ${row.id}`, cause)
    })
    const work = journalledWork(row, payload)
    if (work.kind === 'train') {
      const plan = row.plan === null ? {} : { plan: JSON.parse(row.plan) as NonNullable<TrainingItem['plan']> }
      await this.#train(engine, { ...work.item, ...plan })
    } else if (work.kind === 'optim_step') await step(engine, work.step, row.state === 'failed')
    else if (work.kind === 'clip_gradients') await clipped(engine, row.subject ?? '', work.clip)
    else if (work.kind === 'zero_grad') await engine.discardGradients(row.subject ?? '')
    else if (work.kind === 'load_weights') await this.load(engine, row.subject ?? '', work.from)
  }

  async #train(engine: Engine, item: TrainingItem): Promise<void> {
    for await (const outcome of engine.train([item])) {
      if ('result' in outcome) continue
      const { code, message } = outcome.error
      if (code !== 'PLAN_MISMATCH' || !item.plan) throw new EngineError(outcome.error)
      // Another processor or runtime: the same sums in another order of rounding, and the operator is told.
      this.#parts.log(`operation ${item.operation} is repeated, though not bit for bit: ${message}`)
      const { plan: _, ...unplanned } = item
      await this.#train(engine, unplanned)
    }
  }

  #alone<T>(engine: Engine, work: () => Promise<T>): Promise<T> {
    const move = (this.#moves.get(engine) ?? Promise.resolve()).then(work)
    this.#moves.set(
      engine,
      move.catch(() => {}),
    )
    return move
  }

  #roomOf(engine: Engine): AdapterRoom {
    let room = this.#rooms.get(engine)
    if (!room) {
      room = new AdapterRoom(this.#parts.room)
      this.#rooms.set(engine, room)
    }
    return room
  }
}

/** A pass leaves one; a clipping, or a step that was refused, leaves it if there was one. */
function hasGradientAfter({ kind, state }: OperationRow, before: boolean): boolean {
  if (kind === 'forward_backward') return true
  return before && (kind === 'clip_gradients' || state === 'failed')
}

/** The run stays as it is: the files may come back, and other runs are not concerned. */
const notRestorable = (id: string, what: string, cause: unknown) =>
  serviceError('NOT_RESTORABLE', { id, what }, { cause })

/** A step that was refused then is refused again, and uses up the gradient as it did. */
async function step(engine: Engine, request: OptimStep, mayFail: boolean): Promise<void> {
  for (const outcome of await engine.optimStep([request])) {
    if ('error' in outcome && !mayFail) throw new EngineError(outcome.error)
  }
}

/** The engine's clipping of one adapter. Throws what the outcome says. */
export async function clipped(engine: Engine, adapter: string, clip: ClipSettings): Promise<ClipResult> {
  const [outcome] = await engine.clipGradients([{ ...clip, operation: 'clip', adapter }])
  if (!outcome) throw new Error('the engine gave no outcome of a clipping')
  if ('error' in outcome) throw new EngineError(outcome.error)
  return outcome.result
}
