// Deep health: looks at what the server needs, and says what is wrong and what to do. Cheap enough to be asked every few
// seconds; knows nothing of tenants, and tells nothing of paths.

import { randomUUID } from 'node:crypto'
import { open, rm, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { type IntervalHistogram, monitorEventLoopDelay } from 'node:perf_hooks'
import type { Kysely } from 'kysely'
import type { BaseModels } from '../services/base-models.ts'
import type { Futures } from '../services/futures.ts'
import type { Database } from '../store/schema.ts'

export interface Problem {
  readonly code: string
  readonly message: string
  readonly next: string
  /** Work waits or cannot be taken, rather than being slow. */
  readonly isFatal: boolean
}

export interface HealthParts {
  readonly db: Kysely<Database>
  readonly stateDir: string
  readonly models: Pick<BaseModels, 'names' | 'isRestarting'>
  readonly futures: Pick<Futures, 'late'>
}

/** Whoever asks within this time gets the same answer: looking writes to the disk. */
const FRESH_MS = 2000
const LOOK_LIMIT_MS = 5000
const LEAST_FREE_BYTES = 512 * 2 ** 20
const LATE_MS = 500
/** About what a call takes in the database: a byte may find a place where that does not. */
const TRIAL_BYTES = 64 * 1024

export class Health {
  readonly #parts: HealthParts
  readonly #delay: IntervalHistogram
  #last: { readonly at: number; readonly problems: Promise<Problem[]> } | null = null
  constructor(parts: HealthParts) {
    this.#parts = parts
    this.#delay = monitorEventLoopDelay({ resolution: 20 })
    this.#delay.enable()
  }

  problems(now = performance.now()): Promise<Problem[]> {
    if (!this.#last || now - this.#last.at > FRESH_MS) this.#last = { at: now, problems: this.#look() }
    return this.#last.problems
  }

  close(): void {
    this.#delay.disable()
  }

  async #look(): Promise<Problem[]> {
    const looks = [this.#database(), this.#stateDirectory(), this.#space()]
    const found = await Promise.all(looks)
    return [...found, this.#records(), ...this.#engines(), this.#eventLoop()].flatMap((problem) => problem ?? [])
  }

  /** A statement that writes, and changes nothing. */
  async #database(): Promise<Problem | null> {
    const write = this.#parts.db.updateTable('operations').set({ delivered_at: 0 }).where('id', '=', '').execute()
    return (await within(write)) ? null : DATABASE
  }

  async #stateDirectory(): Promise<Problem | null> {
    const file = join(this.#parts.stateDir, `health-${randomUUID()}`)
    return (await within(writeAndRemove(file))) ? null : STATE_DIRECTORY
  }

  async #space(): Promise<Problem | null> {
    const disk = await statfs(this.#parts.stateDir).catch(() => null)
    const free = disk ? disk.bavail * disk.bsize : Number.POSITIVE_INFINITY
    if (free >= LEAST_FREE_BYTES) return null
    const message = `The disk of the state directory has ${Math.floor(free / 2 ** 20)} MiB left.`
    return { code: 'DISK_NEARLY_FULL', message, next: 'Delete checkpoints, or give it more space.', isFatal: false }
  }

  #records(): Problem | null {
    const { late } = this.#parts.futures
    if (late === 0) return null
    return {
      code: 'RECORDS_WAIT',
      message: `What became of ${late} operations cannot be written down; those who wait for them go on waiting.`,
      next: 'Look at the disk of the database and of the state directory; the log says what was tried.',
      isFatal: true,
    }
  }

  #engines(): Problem[] {
    const { models } = this.#parts
    return models
      .names()
      .filter((name) => models.isRestarting(name))
      .map((name) => ({
        code: 'ENGINE_RESTARTING',
        message: `The engine of ${name} is being opened again.`,
        next: 'Its work waits until it is open; the log says why it ended.',
        isFatal: true,
      }))
  }

  /** Since it was last looked at. */
  #eventLoop(): Problem | null {
    const lateMs = this.#delay.percentile(99) / 1e6
    this.#delay.reset()
    if (!(lateMs > LATE_MS)) return null
    const message = `Requests wait for the server itself: one in a hundred turns of its event loop is ${Math.round(lateMs)} ms late.`
    return {
      code: 'EVENT_LOOP_LATE',
      message,
      next: 'Give the machine more cores, or send less at once.',
      isFatal: false,
    }
  }
}

const DATABASE: Problem = {
  code: 'DATABASE_NOT_WRITABLE',
  message: 'The database takes no writes.',
  next: 'Look at its disk, its permissions and, for PostgreSQL, whether it runs; work is taken again when it does.',
  isFatal: true,
}

const STATE_DIRECTORY: Problem = {
  code: 'STATE_NOT_WRITABLE',
  message: 'The state directory takes no files.',
  next: 'Look at its disk and its permissions.',
  isFatal: true,
}

async function writeAndRemove(path: string): Promise<void> {
  const file = await open(path, 'wx')
  try {
    await file.writeFile(new Uint8Array(TRIAL_BYTES))
    await file.sync()
  } finally {
    await file.close()
    await rm(path, { force: true })
  }
}

/** Whether it succeeds in time. */
async function within(work: Promise<unknown>): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined
  const limit = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), LOOK_LIMIT_MS).unref()
  })
  const done = work.then(
    () => true,
    () => false,
  )
  return Promise.race([done, limit]).finally(() => clearTimeout(timer))
}
