// What must be in an answer for this client to go on: checked here, so that a wrong one is named where it came in and not by
// a TypeError elsewhere. Fields that nobody here relies on are not looked at: servers may add and leave out.

import type { OperationId } from '../../generated/operations.ts'
import { UnexpectedAnswerError } from './errors.ts'

type Kind = 'string' | 'number' | 'array' | 'object'
type Shape = Readonly<Record<string, Kind>>

const FUTURE: Shape = { request_id: 'string' }

const SHAPES: Partial<Record<OperationId, Shape>> = {
  clientConfig: {},
  authToken: { jwt: 'string' },
  createSession: { session_id: 'string' },
  createModel: FUTURE,
  forwardBackward: FUTURE,
  optimStep: FUTURE,
  saveWeights: FUTURE,
  saveWeightsForSampler: FUTURE,
  saveWeightsExternal: FUTURE,
  loadWeights: FUTURE,
  createCustomLoss: FUTURE,
  asample: FUTURE,
  getInfo: { model_id: 'string', model_data: 'object' },
  createSamplingSession: { sampling_session_id: 'string' },
  joinSamplingSession: { client_counter: 'number' },
  getSampler: { base_model: 'string' },
  retrieveFutures: { completions: 'array', cursor: 'number' },
  getServerCapabilities: { supported_models: 'array' },
  listTrainingRuns: { training_runs: 'array' },
  listCheckpoints: { checkpoints: 'array' },
  listUserCheckpoints: { checkpoints: 'array' },
  listSessions: { sessions: 'array' },
  searchSessions: { sessions: 'array' },
  getExternalWeightsUrls: { urls: 'object', expires: 'string' },
  copyWeights: { tinker_path: 'string' },
  weightsInfo: { base_model: 'string' },
  getTrainingRun: { training_run_id: 'string', base_model: 'string' },
}

/** Throws UnexpectedAnswerError that names operation and field. */
export function checkAnswer(operation: OperationId, body: unknown, url: string): void {
  const shape = SHAPES[operation]
  if (shape) checkShape(body, shape, url)
}

/** The same for a result, whose operation is known by another name. */
export function checkShape(body: unknown, shape: Shape, source: string): void {
  if (kindOf(body) !== 'object') throw wrong(source, `${describe(body)} instead of an object`)
  for (const [field, kind] of Object.entries(shape)) {
    const value = (body as Readonly<Record<string, unknown>>)[field]
    if (kindOf(value) !== kind) throw wrong(source, `${field} is ${describe(value)} instead of ${article(kind)}`)
  }
}

function wrong(source: string, problem: string): UnexpectedAnswerError {
  return new UnexpectedAnswerError(
    `The answer of ${source} has a shape that this client cannot use: ${problem}. Next: check that the address is a Tinker server's and that no proxy changes its answers; a server much older or newer than SDK 0.38 can be the cause too.`,
  )
}

function kindOf(value: unknown): string {
  if (Array.isArray(value)) return 'array'
  return value === null ? 'null' : typeof value
}

function article(kind: string): string {
  return /^[aeiou]/.test(kind) ? `an ${kind}` : `a ${kind}`
}

function describe(value: unknown): string {
  return value === undefined ? 'missing' : (JSON.stringify(value)?.slice(0, 60) ?? typeof value)
}

/** Results of operations that answer in JSON, by the name that polls give their kind. */
export const RESULT_SHAPES: Readonly<Record<string, Shape>> = {
  CreateModel: { model_id: 'string' },
  CreateCustomLoss: { loss_id: 'string' },
  OptimStep: {},
  SaveWeights: { path: 'string' },
  SaveWeightsExternal: { path: 'string' },
  SaveWeightsForSampler: {},
  LoadWeights: {},
}
