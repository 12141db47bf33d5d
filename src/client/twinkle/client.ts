// What a user asks of a server as a whole: its models, its room, and the runs and checkpoints of this key.

import type { components } from '../../generated/twinkle.ts'
import { shaped } from './answers.ts'
import { type CallOptions, Connection, type ConnectionOptions } from './connection.ts'
import { TwinkleError } from './errors.ts'

type Schemas = components['schemas']
export type TrainingRun = Schemas['TwinkleRun']
export type Checkpoint = Schemas['TwinkleCheckpoint']
export type Weights = Schemas['TwinkleWeights']

export interface ListOptions extends CallOptions {
  readonly limit?: number
  readonly offset?: number
  /** Of all tenants; for keys of admins. */
  readonly allUsers?: boolean
}

export interface CheckpointPath {
  readonly path: string
  readonly twinklePath: string
  readonly trainingRunId: string
  readonly checkpointType: string
  readonly checkpointId: string
}

/** Reading twice is reading once. */
const SAFE = { isSafe: true }
/** Runs that `findTrainingRunByModel` looks through. */
const SEARCHED = 100

export class TwinkleClient {
  readonly connection: Connection

  constructor(options: ConnectionOptions | Connection = {}) {
    this.connection = options instanceof Connection ? options : new Connection(options)
  }

  /** The id of this client's session, begun now if there is none. */
  createSession(): Promise<string> {
    return this.connection.session()
  }

  /** Stops the heartbeats: adapters that were not saved are gone when the session has run out. */
  close(): void {
    this.connection.close()
  }

  /** False when the server is not there or not well. */
  async healthCheck(options: CallOptions = {}): Promise<boolean> {
    try {
      await this.connection.ask((api, signal) => api.GET('/api/v1/twinkle/healthz', { ...at(signal) }), {
        ...options,
        isSafe: false,
      })
      return true
    } catch (error) {
      if (error instanceof TwinkleError) return false
      throw error
    }
  }

  async getServerCapabilities(options: CallOptions = {}): Promise<{ readonly supportedModels: readonly string[] }> {
    const answer = await this.connection.ask(
      (api, signal) => api.GET('/api/v1/twinkle/get_server_capabilities', { ...at(signal) }),
      { ...options, ...SAFE },
    )
    const { supported_models: models } = shaped('get_server_capabilities', answer, { supported_models: 'array' })
    return { supportedModels: models.map(({ model_name }) => model_name ?? '') }
  }

  /** Adapters that there is room for. */
  async getCapacityInfo(options: CallOptions = {}) {
    const info = await this.connection.ask(
      (api, signal) => api.GET('/api/v1/twinkle/capacity_info', { ...at(signal) }),
      { ...options, ...SAFE },
    )
    shaped('capacity_info', info, { max_loras: 'number', used_loras: 'number', free_loras: 'number' })
    return { maxLoras: info.max_loras, usedLoras: info.used_loras, freeLoras: info.free_loras }
  }

  /** Newest first. */
  async listTrainingRuns(options: ListOptions = {}): Promise<readonly TrainingRun[]> {
    return (await this.listTrainingRunsWithCursor(options)).runs
  }

  async listTrainingRunsWithCursor(options: ListOptions = {}) {
    const { limit = 20, offset = 0, allUsers = false } = options
    const query = { limit, offset, ...(allUsers ? { all_users: true } : {}) }
    const answer = await this.connection.ask(
      (api, signal) => api.GET('/api/v1/twinkle/training_runs', { params: { query }, ...at(signal) }),
      { ...options, ...SAFE },
    )
    const shape = { training_runs: 'array', cursor: 'object' } as const
    const { training_runs: runs, cursor } = shaped('training_runs', answer, shape)
    return { runs, cursor }
  }

  /** All of them, newest first, a page at a time. */
  async *trainingRuns(options: ListOptions = {}): AsyncIterable<TrainingRun> {
    for (let offset = options.offset ?? 0; ; ) {
      const { runs, cursor } = await this.listTrainingRunsWithCursor({ ...options, offset })
      yield* runs
      offset += runs.length
      if (runs.length === 0 || offset >= cursor.total_count) return
    }
  }

  getTrainingRun(runId: string, options: CallOptions = {}): Promise<TrainingRun> {
    const params = { path: { run_id: runId } }
    return this.connection.ask(
      (api, signal) => api.GET('/api/v1/twinkle/training_runs/{run_id}', { params, ...at(signal) }),
      { ...options, ...SAFE },
    )
  }

  /** Oldest first. */
  async listCheckpoints(runId: string, options: CallOptions = {}): Promise<readonly Checkpoint[]> {
    const params = { path: { run_id: runId } }
    const answer = await this.connection.ask(
      (api, signal) => api.GET('/api/v1/twinkle/training_runs/{run_id}/checkpoints', { params, ...at(signal) }),
      { ...options, ...SAFE },
    )
    return shaped('checkpoints', answer, { checkpoints: 'array' }).checkpoints
  }

  /** `checkpointId` is KIND/NAME, as checkpoints have it. */
  async getCheckpointPath(runId: string, checkpointId: string, options: CallOptions = {}): Promise<CheckpointPath> {
    const params = { path: { run_id: runId, ...partsOf(checkpointId) } }
    const found = await this.connection.ask(
      (api, signal) => api.GET('/api/v1/twinkle/checkpoint_path/{run_id}/{kind}/{name}', { params, ...at(signal) }),
      { ...options, ...SAFE },
    )
    shaped('checkpoint_path', found, { path: 'string', twinkle_path: 'string' })
    const { kind: checkpointType } = params.path
    return { path: found.path, twinklePath: found.twinkle_path, trainingRunId: runId, checkpointType, checkpointId }
  }

  /** Null for a run without checkpoints. */
  async getLatestCheckpointPath(runId: string, options: CallOptions = {}): Promise<string | null> {
    return (await this.listCheckpoints(runId, options)).at(-1)?.twinkle_path ?? null
  }

  async deleteCheckpoint(runId: string, checkpointId: string, options: CallOptions = {}): Promise<void> {
    const params = { path: { run_id: runId, ...partsOf(checkpointId) } }
    await this.connection.ask(
      (api, signal) =>
        api.DELETE('/api/v1/twinkle/training_runs/{run_id}/checkpoints/{kind}/{name}', { params, ...at(signal) }),
      { ...options, isSafe: false },
    )
  }

  getWeightsInfo(twinklePath: string, options: CallOptions = {}): Promise<Weights> {
    const body = { twinkle_path: twinklePath }
    return this.connection.ask((api, signal) => api.POST('/api/v1/twinkle/weights_info', { body, ...at(signal) }), {
      ...options,
      ...SAFE,
    })
  }

  /** Among the latest 100 runs. */
  async findTrainingRunByModel(baseModel: string, options: CallOptions = {}): Promise<readonly TrainingRun[]> {
    const runs = await this.listTrainingRuns({ ...options, limit: SEARCHED })
    return runs.filter((run) => run.base_model === baseModel)
  }
}

/** The one that objects take which were given none. */
let current: TwinkleClient | null = null

/** A client, and the one that models, samplers and data sets made later belong to. Nothing is sent yet. */
export function initTwinkleClient(options: ConnectionOptions = {}): TwinkleClient {
  current?.close()
  current = new TwinkleClient(options)
  return current
}

/** Throws TwinkleError before `initTwinkleClient`. */
export function currentConnection(): Connection {
  if (current) return current.connection
  throw new TwinkleError('There is no client yet. Next: call initTwinkleClient, or pass a connection of your own.')
}

function partsOf(checkpointId: string): { kind: 'weights' | 'sampler_weights'; name: string } {
  const [kind, name, ...more] = checkpointId.split('/')
  if ((kind === 'weights' || kind === 'sampler_weights') && name && more.length === 0) return { kind, name }
  throw new TwinkleError(
    `${JSON.stringify(checkpointId)} is no checkpoint id. Next: use weights/NAME or sampler_weights/NAME, as listCheckpoints gives them.`,
  )
}

const at = (signal: AbortSignal | undefined) => (signal ? { signal } : {})
