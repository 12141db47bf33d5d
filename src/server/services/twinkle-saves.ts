// Saving and loading by Twinkle's protocol: checkpoints like any other, which either protocol reads. With the optimiser's
// state a checkpoint also remembers how far training was. twinkle-training.ts trains.

import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { openSafetensors } from '../../formats/safetensors.ts'
import { serviceError } from '../errors.ts'
import type { AdapterStates } from './adapter-states.ts'
import { type Checkpoints, parseTinkerPath, tinkerPath } from './checkpoints.ts'
import { finished } from './finished.ts'
import type { Futures } from './futures.ts'
import type { Retention } from './retention.ts'
import type { Run } from './runs.ts'
import type { Submitted, Training } from './training.ts'
import type { Asked, TwinkleAdapters } from './twinkle-adapters.ts'
import { RESUMABLE_KEY, readResumable, resumableOf } from './twinkle-state.ts'

export interface Save {
  readonly name: string
  readonly hasOptimizer: boolean
  readonly isSampler: boolean
  /** For the loader of whoever resumes. */
  readonly consumed: number
}

export interface ResumedProgress {
  readonly cur_step: number
  readonly consumed_train_samples: number
  readonly gradient_accumulation_steps: number
}

export interface TwinkleSaveParts {
  readonly states: AdapterStates
  readonly adapters: TwinkleAdapters
  readonly training: Training
  readonly futures: Futures
  readonly checkpoints: Checkpoints
  readonly retention: Retention
}

/** As JSON they take about twenty bytes each. */
const MOST_NUMBERS = 2 ** 21
const STATE_DICT = '_state_dict'

export class TwinkleSaves {
  readonly #parts: TwinkleSaveParts
  constructor(parts: TwinkleSaveParts) {
    this.#parts = parts
  }

  /** Gives the path. A checkpoint of the same name is replaced; weights for a sampler get a name of their own each time. */
  async save(asked: Asked, save: Save): Promise<string> {
    return this.#parts.adapters.inTurn(asked, (run) =>
      save.isSampler ? this.#saveForSampler(asked, run, save) : this.#saveWeights(asked, run, save),
    )
  }

  async #saveWeights(asked: Asked, run: Run, { name, hasOptimizer, consumed }: Save): Promise<string> {
    const state = await this.#parts.states.read(run.id)
    const resumable = hasOptimizer ? { [RESUMABLE_KEY]: JSON.stringify(resumableOf(state, consumed)) } : {}
    const checkpoint = {
      kind: 'weights' as const,
      name: checkpointName(name),
      overwrite: true,
      ttlSeconds: null,
      userMetadata: resumable,
      hasOptimizer,
    }
    return this.#path(asked, this.#parts.training.saveWeights(run.tenant, run.id, 0, checkpoint))
  }

  /** The weights of the last such save go: whoever samples from them keeps them as long as it does. */
  async #saveForSampler(asked: Asked, run: Run, { name }: Save): Promise<string> {
    const { states, training, retention } = this.#parts
    const { samplerName: older } = await states.read(run.id)
    const samplerName = `${checkpointName(name)}-${timeOfDay()}-${randomBytes(3).toString('hex')}`
    const call = { modelId: run.id, seqId: 0, path: samplerName, ttlSeconds: null, userMetadata: {} }
    const path = await this.#path(asked, training.saveForSampler(run.tenant, call))
    await states.change(run.id, (now) => ({ ...now, samplerName }))
    if (older !== null) {
      const gone = tinkerPath({ run: run.id, kind: 'sampler_weights', name: older })
      await retention.remove(run.tenant, gone).catch(ignoreMissing)
    }
    return path
  }

  /** @param name a path, or the name of a checkpoint of this adapter */
  async load(asked: Asked, name: string, optimizer: boolean): Promise<void> {
    await this.#parts.adapters.inTurn(asked, async (run) => {
      await this.#load(asked, run, pathOf(run, name), optimizer)
    })
  }

  /** Weights, optimiser and progress; weights alone where that is asked for. Throws NO_OPTIMIZER_STATE. */
  async resume(asked: Asked, name: string, isOnlyModel: boolean): Promise<ResumedProgress> {
    return this.#parts.adapters.inTurn(asked, async (run) => {
      const path = pathOf(run, name)
      const { user_metadata } = await this.#parts.checkpoints.find(run.tenant, path)
      await this.#load(asked, run, path, !isOnlyModel)
      const { progress, accumulation } = await this.#parts.states.read(run.id)
      const consumed = isOnlyModel ? 0 : (readResumable(user_metadata)?.progress.consumed ?? 0)
      return {
        cur_step: isOnlyModel ? 0 : progress.steps,
        consumed_train_samples: consumed,
        gradient_accumulation_steps: accumulation,
      }
    })
  }

  /** Nested lists by tensor name, as the adapter's file has them. Throws STATE_DICT_TOO_LARGE. */
  async stateDict(asked: Asked): Promise<Record<string, unknown>> {
    const { adapters, training, checkpoints, retention } = this.#parts
    return adapters.inTurn(asked, async (run) => {
      const call = { kind: 'external_weights' as const, name: STATE_DICT, overwrite: true, ttlSeconds: null }
      const saving = training.saveWeights(run.tenant, run.id, 0, { ...call, userMetadata: {}, hasOptimizer: false })
      const path = await this.#path(asked, saving)
      try {
        const { folder } = await checkpoints.own(run.tenant, path)
        return tensorsOf(join(checkpoints.absolute(folder), 'adapter_model.safetensors'))
      } finally {
        await retention.remove(run.tenant, path).catch(ignoreMissing)
      }
    })
  }

  async #load({ party, signal }: Asked, run: Run, path: string, optimizer: boolean): Promise<void> {
    const { training, futures } = this.#parts
    const { requestId } = await training.loadWeights(run.tenant, run.id, 0, { path, optimizer })
    await finished(futures, party.tenant, requestId, signal)
  }

  async #path({ party, signal }: Asked, submitting: Promise<Submitted>): Promise<string> {
    const { requestId } = await submitting
    const { value } = await finished(this.#parts.futures, party.tenant, requestId, signal)
    return (value as unknown as { path: string }).path
  }
}

function tensorsOf(file: string): Record<string, unknown> {
  const tensors = openSafetensors(file)
  const numbers = [...tensors.values()].reduce((sum, { shape }) => sum + sizeOf(shape), 0)
  if (numbers > MOST_NUMBERS) throw serviceError('STATE_DICT_TOO_LARGE', { numbers, most: MOST_NUMBERS })
  return Object.fromEntries([...tensors].map(([name, tensor]) => [name, nested(tensor.read(), tensor.shape)]))
}

const sizeOf = (shape: readonly number[]) => shape.reduce((product, size) => product * size, 1)

function nested(values: Float32Array, [first, ...rest]: readonly number[]): unknown {
  if (first === undefined) return values[0]
  if (rest.length === 0) return [...values]
  const size = sizeOf(rest)
  return Array.from({ length: first }, (_, i) => nested(values.subarray(i * size, (i + 1) * size), rest))
}

/** A path of any run that its tenant may read; a bare name is one of this run's. */
function pathOf(run: Run, name: string): string {
  if (name.includes('://')) {
    parseTinkerPath(name)
    return name
  }
  const [kind, ...rest] = name.split('/')
  const isKind = rest.length === 1 && (kind === 'weights' || kind === 'sampler_weights')
  return `tinker://${run.id}/${isKind ? name : `weights/${name}`}`
}

/** As Twinkle's server writes them; without a name, the time. */
export function checkpointName(given: string): string {
  return given.trim() === ''
    ? timeOfDay()
    : given
        .trim()
        .replace(/[^A-Za-z0-9_-]/g, '_')
        .replace(/^-/, '_')
        .slice(0, 96)
}

function timeOfDay(): string {
  return new Date().toISOString().slice(0, 19).replace('T', '_').replace(/[-:]/g, '')
}

function ignoreMissing(cause: unknown): void {
  if ((cause as { code?: unknown }).code !== 'CHECKPOINT_NOT_FOUND') throw cause
}
