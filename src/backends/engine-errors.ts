// Every code that an engine's error can carry, with who is to blame and what it means. Engines throw `EngineError`s made
// here; what they did not foresee becomes one in `toFailure`. Knows nothing of HTTP: the server maps codes to statuses.

import { EngineError, type EngineFailure } from './backend.ts'

interface Kind {
  readonly category: EngineFailure['category']
  readonly meaning: string
}

export const ENGINE_ERRORS = {
  ADAPTER_NOT_FOUND: { category: 'user', meaning: 'no adapter of this id in the engine' },
  ADAPTER_EXISTS: { category: 'user', meaning: 'an adapter of this id is there already' },
  SNAPSHOT_NOT_FOUND: { category: 'user', meaning: 'no snapshot of this id, or it was released' },
  INVALID_ADAPTER: { category: 'user', meaning: 'a LoRA configuration or adapter file that this model cannot take' },
  INVALID_INPUT: { category: 'user', meaning: 'a tensor, token or number that the operation cannot take' },
  UNSUPPORTED_LOSS: { category: 'user', meaning: 'a loss that this engine does not have' },
  UNSUPPORTED_OPTIMIZER: { category: 'user', meaning: 'an optimiser rule that this engine does not have' },
  OPTIMIZER_MISMATCH: { category: 'user', meaning: 'a step of another rule than that of the optimiser state so far' },
  NON_FINITE: { category: 'user', meaning: 'the numbers of this adapter or request left the range of floats' },
  OUT_OF_MEMORY: { category: 'user', meaning: 'the operation needs more memory than the engine may use' },
  CANCELLED: { category: 'user', meaning: 'the caller aborted it before it was done' },
  FOLDER_EXISTS: { category: 'user', meaning: 'an adapter is saved to a new folder only' },
  UNSUPPORTED_MODEL: { category: 'user', meaning: 'an architecture, rope type or tensor type that is not implemented' },
  INVALID_MODEL: { category: 'user', meaning: 'a model folder or file that is missing, incomplete or corrupt' },
  MISSING_PACKAGE: {
    category: 'server',
    meaning: 'an optional package that the backend computes with is not installed',
  },
  BACKEND_NOT_FOUND: { category: 'user', meaning: 'no backend is registered by this name' },
  PLAN_MISMATCH: {
    category: 'server',
    meaning: 'a training plan of another runtime: its bits cannot be repeated here',
  },
  ENGINE_CLOSED: { category: 'server', meaning: 'the engine was closed by its owner' },
  ENGINE_LOST: {
    category: 'server',
    meaning: 'the engine ended by itself or broke the protocol; what it had not answered may be sent again',
  },
  STALE_EPOCH: { category: 'server', meaning: 'a request meant for an engine that has been replaced since' },
  PROTOCOL: {
    category: 'server',
    meaning: 'a call that breaks the protocol between server and engine, which refuses it',
  },
  STORAGE: { category: 'server', meaning: 'a file could not be read or written' },
  INTERNAL: { category: 'server', meaning: 'a fault of the engine' },
} as const satisfies Record<string, Kind>

export type EngineErrorCode = keyof typeof ENGINE_ERRORS

/** An error of the catalogue. `message` names the thing, what is accepted and, where there is one, the next step. */
export function engineError(code: EngineErrorCode, message: string): EngineError {
  return new EngineError({ category: ENGINE_ERRORS[code].category, code, message })
}

/** What became of an operation that threw: plain data, fit for an outcome or a frame. */
export function toFailure(error: unknown): EngineFailure {
  if (error instanceof EngineError) return { category: error.category, code: error.code, message: error.message }
  const message = error instanceof Error ? error.message : String(error)
  const system = (error as { code?: unknown } | null)?.code
  const code = typeof system === 'string' && SYSTEM_CODE.test(system) ? 'STORAGE' : 'INTERNAL'
  return { category: ENGINE_ERRORS[code].category, code, message }
}

export function toEngineError(error: unknown): EngineError {
  return error instanceof EngineError ? error : new EngineError(toFailure(error))
}

/** `ENOSPC`, `EACCES` and the like, as Node's file functions report them. */
const SYSTEM_CODE = /^E[A-Z0-9]+$/

export const cancelled = (what: string): EngineError =>
  engineError('CANCELLED', `${what} was cancelled before it was done`)
