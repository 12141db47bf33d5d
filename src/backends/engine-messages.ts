// What server and engine say to each other in frames. The messages are the `Engine` interface itself: `op` is the name of
// a method and `args` are its arguments in order (without the signal), so that this file has nothing to translate.
//   server:  { id, epoch, op, args }    starts a call; the first is `open`, whose argument is an `OpenRequest`
//            { cancel: id }             aborts the signal of a running call
//   engine:  { id, event }              one item of a streaming call
//            { id, result } | { id, error: EngineFailure }    ends the call
// Calls start in order of arrival and run side by side. The end of the stream ends everything.

import type { Engine, EngineFailure, EngineInfo, ModelSource } from './backend.ts'

/** Raised whenever a message or a signature of `Engine` changes; both sides must have the same. */
export const PROTOCOL_VERSION = 5

export type EngineMethod = Exclude<keyof Engine, 'info' | 'closed' | 'close'>

/** How each method answers: once, or with events before. Complete by type, and what a worker accepts. */
export const ENGINE_METHODS = {
  createAdapter: 'call',
  releaseAdapter: 'call',
  saveAdapter: 'call',
  loadAdapter: 'call',
  train: 'stream',
  optimStep: 'call',
  clipGradients: 'call',
  discardGradients: 'call',
  publish: 'call',
  loadSnapshot: 'call',
  releaseSnapshot: 'call',
  generate: 'stream',
  status: 'call',
} as const satisfies Record<EngineMethod, 'call' | 'stream'>

export type Op = EngineMethod | 'open' | 'close'

export interface Request {
  readonly id: number
  /** From the answer to `open`; a worker that was rebuilt since refuses requests meant for the one before it. */
  readonly epoch: number
  readonly op: Op
  readonly args: readonly unknown[]
  /** The signal of the call had aborted before it was sent. */
  readonly aborted?: true
}
export interface Cancel {
  readonly cancel: number
}
export type Answer =
  | { readonly id: number; readonly event: unknown }
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number; readonly error: EngineFailure }

export interface OpenRequest {
  readonly protocol: number
  readonly model: ModelSource
  readonly options: { readonly cacheDir: string; readonly threads: number }
}
export interface OpenResult {
  readonly protocol: number
  readonly epoch: number
  readonly info: EngineInfo
}
