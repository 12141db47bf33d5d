// Adapters of Twinkle's protocol: a name within an owner, which is a training run like any other. Makes them, finds them, and
// gives their requests turns, so that what arrives first is done first, settings included. twinkle-training.ts trains them.

import { Turns } from '../../backends/turns.ts'
import type { Kwargs } from '../../catalogue/arguments.ts'
import { serviceError } from '../errors.ts'
import type { Journal } from '../store/journal.ts'
import type { AdapterStates } from './adapter-states.ts'
import type { BaseModels } from './base-models.ts'
import { ended } from './finished.ts'
import type { Futures } from './futures.ts'
import { alphaOf, type LoraRequest } from './lora-request.ts'
import { adapterRun } from './new-run.ts'
import type { RunLanes } from './run-lanes.ts'
import type { Run, Runs } from './runs.ts'
import type { Submitted, Training } from './training.ts'
import type { Party, TwinkleOwners } from './twinkle-owners.ts'
import { type AdapterState, newState } from './twinkle-state.ts'

export interface NewAdapter {
  readonly baseModel: string
  readonly name: string
  readonly lora: LoraRequest
  readonly accumulation: number
  readonly saveDir: string | null
  /** Of its first weights; drawn where there is none. In decimal. */
  readonly seed?: string
}

/** Which adapter a request is about. */
export interface Asked {
  readonly party: Party
  readonly baseModel: string
  readonly name: string
  /** Whether the caller is still there. */
  readonly signal: AbortSignal
}

export interface TwinkleAdapterParts {
  readonly journal: Journal
  readonly futures: Futures
  readonly states: AdapterStates
  readonly owners: TwinkleOwners
  readonly runs: Runs
  readonly models: BaseModels
  readonly training: Training
  readonly lanes: RunLanes
}

/** Part of a run's id, which is part of a path. */
const NAME = /^[\w.-]{1,64}$/
/** Ids of one name of one owner that are looked for before another owner's turn has to be over. */
const MOST_IDS = 10_000

export class TwinkleAdapters {
  readonly #parts: TwinkleAdapterParts
  readonly #turns = new Turns()
  constructor(parts: TwinkleAdapterParts) {
    this.#parts = parts
  }

  /** A new run; what the name stood for before gives its place in the engine back. Its id is in the answer. */
  async add(party: Party, call: NewAdapter): Promise<Submitted> {
    const turn = this.#turns.take([turnOf(party, call.name)])
    try {
      await turn.ready
      return await this.#add(party, call)
    } finally {
      turn.allOver()
    }
  }

  async #add(party: Party, call: NewAdapter): Promise<Submitted> {
    const { states, owners, runs, models, training, lanes } = this.#parts
    if (!NAME.test(call.name)) throw serviceError('INVALID_ADAPTER_NAME', { name: call.name })
    const { info } = models.get(call.baseModel)
    const session = await owners.session(party)
    const before = await states.findIfAny(party, call.name)
    const shape = { ...call.lora, alpha: alphaOf(call.lora), baseModel: call.baseModel, sessionId: session }
    const seed = call.seed === undefined ? {} : { seed: call.seed }
    const id = await this.#freeId(`${party.owner}-${call.name}`)
    const run = adapterRun(
      party.tenant,
      { ...shape, ...seed, id, userMetadata: { adapter_name: call.name } },
      info.maxRank,
    )
    const state = newState(call.lora, call.saveDir, call.accumulation, Date.now())
    const submitted = await training.createRun(run, (trx) => states.insert(trx, party, call.name, run, state))
    if (before !== undefined) lanes.release(await runs.find(party.tenant, before))
    return submitted
  }

  /** An id is used once: that of an adapter that was made anew, or another tenant's, gets a number behind it. */
  async #freeId(plain: string): Promise<string> {
    for (let i = 1; i < MOST_IDS; i++) {
      const id = i === 1 ? plain : `${plain}-${i}`
      if (!(await this.#parts.runs.isTaken(id))) return id
    }
    throw serviceError('INVALID_ADAPTER_NAME', { name: plain })
  }

  /**
   * Does something with an adapter when everything that was asked of it before is over; also what its caller no longer waits
   * for, be it that the caller went away or that the server was started anew.
   *
   * @throws ServiceError UNKNOWN_ADAPTER, MODEL_GONE; SHUTTING_DOWN
   */
  async inTurn<T>({ party, baseModel, name, signal }: Asked, work: (run: Run) => Promise<T>): Promise<T> {
    const { states, owners, runs, models } = this.#parts
    models.get(baseModel)
    const turn = this.#turns.take([turnOf(party, name)])
    try {
      await turn.ready
      const run = await runs.require(party.tenant, await states.find(party, name))
      if (run.base_model !== baseModel) throw serviceError('ADAPTER_OF_OTHER_MODEL', { name, model: run.base_model })
      await owners.touch(party)
      await this.#settled(run, signal)
      return await work(run)
    } finally {
      turn.allOver()
    }
  }

  async #settled({ id: run, tenant }: Run, signal: AbortSignal): Promise<void> {
    const { journal, futures } = this.#parts
    for (const id of await journal.openOn(run)) await ended(futures, tenant, id, signal)
  }

  /** The same with its state as it is then. Any call may change of how many passes an update is made. */
  async withState<T>(
    asked: Asked,
    { gradient_accumulation_steps: accumulation }: Kwargs,
    work: (run: Run, state: AdapterState) => Promise<T>,
  ): Promise<T> {
    const { states } = this.#parts
    return this.inTurn(asked, async (run) => {
      const state = isSteps(accumulation)
        ? await states.change(run.id, (now) => ({ ...now, accumulation }))
        : await states.read(run.id)
      return work(run, state)
    })
  }
}

const turnOf = ({ tenant, owner }: Party, name: string) => `${tenant} ${owner} ${name}`

/** The document has seen to it that it is a whole number from 1 where it is there. */
const isSteps = (given: unknown): given is number => typeof given === 'number'
