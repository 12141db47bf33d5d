// A Tinker SDK for TypeScript: the public surface of `twinkle-ts/tinker`. Web APIs only.

export { ConnectionError, RequestFailedError, StatusError, TimeoutError, TinkerError } from './errors.ts'
export { ApiFuture } from './future.ts'
export type { QueueReport } from './polling.ts'
export { SamplingClient } from './sampling-client.ts'
export { type ResumeOptions, type SamplerSource, ServiceClient, type ServiceOptions } from './service-client.ts'
export type { ServedTokenizer } from './tokenizer.ts'
export { type CallOptions, type CheckpointRef, type SaveOptions, TrainingClient } from './training-client.ts'
export * from './types.ts'
