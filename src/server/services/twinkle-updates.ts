// Updates of Twinkle's protocol: clip_grad_norm, step, zero_grad, lr_step and all of them at once; and the metrics of what was
// done. Each does something only when an update is due, which twinkle-state.ts says. Operations have the order and the
// durability of Tinker's. Passes are twinkle-passes.ts's.

import type { OptimSettings } from '../../backends/backend.ts'
import type { Kwargs } from '../../catalogue/arguments.ts'
import type { MetricResult } from '../../catalogue/metrics/metric.ts'
import { serviceError } from '../errors.ts'
import type { AdapterStates } from './adapter-states.ts'
import { finished } from './finished.ts'
import type { Futures } from './futures.ts'
import type { Run } from './runs.ts'
import type { Submitted, Training } from './training.ts'
import type { Asked, TwinkleAdapters } from './twinkle-adapters.ts'
import {
  type AdapterState,
  afterLrStep,
  currentOptimizer,
  divisorOf,
  isUpdateDue,
  type Metrics,
  measured,
} from './twinkle-state.ts'

export interface Clip {
  readonly maxNorm: number | null
  readonly normType: number
}

export interface TwinkleUpdateParts {
  readonly futures: Futures
  readonly states: AdapterStates
  readonly adapters: TwinkleAdapters
  readonly training: Training
}

export class TwinkleUpdates {
  readonly #parts: TwinkleUpdateParts
  constructor(parts: TwinkleUpdateParts) {
    this.#parts = parts
  }

  /** The norm before clipping; null before an update is due. */
  async clip(asked: Asked, clip: Clip, kwargs: Kwargs): Promise<number | null> {
    return this.#parts.adapters.withState(asked, kwargs, (run, state) => this.#clip(asked, run, state, clip))
  }

  async step(asked: Asked, kwargs: Kwargs): Promise<void> {
    await this.#parts.adapters.withState(asked, kwargs, (run, state) => this.#step(asked, run, state))
  }

  async zeroGrad(asked: Asked, kwargs: Kwargs): Promise<void> {
    await this.#parts.adapters.withState(asked, kwargs, (run, state) => this.#zeroGrad(asked, run, state))
  }

  async lrStep(asked: Asked, kwargs: Kwargs): Promise<void> {
    const { gradient_accumulation_steps: _, ...ofStep } = kwargs
    await this.#parts.adapters.withState(asked, kwargs, async (run, state) => {
      if (isUpdateDue(state)) await this.#parts.states.change(run.id, (now) => afterLrStep(now, ofStep))
    })
  }

  /** clip, step, zeroGrad and lrStep in one turn. */
  async clipAndStep(asked: Asked, clip: Clip, kwargs: Kwargs): Promise<void> {
    await this.#parts.adapters.withState(asked, kwargs, async (run, state) => {
      if (!isUpdateDue(state)) return
      stepOf(state)
      await this.#clip(asked, run, state, clip)
      await this.#step(asked, run, await this.#parts.states.read(run.id))
      await this.#zeroGrad(asked, run, await this.#parts.states.read(run.id))
      await this.#parts.states.change(run.id, (now) => afterLrStep(now, {}))
    })
  }

  /** The metrics of passes that train, or of those that only look; they count anew from now on. */
  async measure(asked: Asked, kind: keyof Metrics): Promise<MetricResult> {
    return this.#parts.adapters.withState(asked, {}, async (run) => {
      let result: MetricResult = {}
      await this.#parts.states.change(run.id, (now) => {
        const then = measured(now, kind, Date.now())
        result = then.result
        return then.state
      })
      return result
    })
  }

  async #clip(asked: Asked, run: Run, state: AdapterState, { maxNorm, normType }: Clip): Promise<number | null> {
    if (!isUpdateDue(state)) return null
    const { training } = this.#parts
    const call = { divisor: divisorOf(state), maxNorm, normType }
    const value = await this.#json(asked, training.clipGradients(run.tenant, run.id, 0, call))
    return Number(value.grad_norm)
  }

  async #step(asked: Asked, run: Run, state: AdapterState): Promise<void> {
    const settings = stepOf(state)
    if (!isUpdateDue(state)) return
    await this.#json(asked, this.#parts.training.optimStep(run.tenant, run.id, 0, settings))
  }

  async #zeroGrad(asked: Asked, run: Run, state: AdapterState): Promise<void> {
    if (!isUpdateDue(state)) return
    await this.#json(asked, this.#parts.training.zeroGrad(run.tenant, run.id, 0))
  }

  async #json({ party, signal }: Asked, submitting: Promise<Submitted>): Promise<Readonly<Record<string, unknown>>> {
    const { requestId } = await submitting
    const reply = await finished(this.#parts.futures, party.tenant, requestId, signal)
    return reply.value as Readonly<Record<string, unknown>>
  }
}

/** Throws NO_OPTIMIZER. */
function stepOf(state: AdapterState): OptimSettings {
  const spec = currentOptimizer(state)
  if (!spec) throw serviceError('NO_OPTIMIZER')
  return { ...spec, fresh: state.optimizer?.isFresh ?? false }
}
