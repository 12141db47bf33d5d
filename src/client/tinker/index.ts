// A Tinker SDK for TypeScript: the public surface of `twinkle-ts/tinker`. Web APIs only.

export { AdminClient, type AuditEventType } from './admin-client.ts'
export type { ConnectionOptions } from './connection.ts'
export type { CustomLoss, CustomLossValue, InputRank, LossHandle, TracedLoss } from './custom-loss.ts'
export { policyDatum, supervisedDatum, withProvenance } from './datums.ts'
export {
  AuthenticationError,
  BadRequestError,
  BillingError,
  ConflictError,
  ConnectionError,
  InternalServerError,
  NotFoundError,
  PermissionDeniedError,
  RateLimitError,
  RequestFailedError,
  StatusError,
  TimeoutError,
  TinkerError,
  UnexpectedAnswerError,
  UnprocessableEntityError,
} from './errors.ts'
export { ApiFuture } from './future.ts'
export type { LossValue } from './loss-graph.ts'
export {
  type DmelChunk,
  type EncodedTextChunk,
  type ImageAssetPointerChunk,
  type ImageChunk,
  ModelInput,
  type ModelInputChunk,
} from './model-input.ts'
export type { CallOptions } from './model-operations.ts'
export type { QueueReport } from './polling.ts'
export { type ArchiveUrl, type CopyOptions, type Identity, RestClient } from './rest-client.ts'
export type { RetryOptions } from './sample-retry.ts'
export { type SamplerSource, SamplingClient, type SamplingOptions } from './sampling-client.ts'
export { type ResumeOptions, ServiceClient, type ServiceOptions } from './service-client.ts'
export * from './tensors.ts'
export { parseTinkerPath, type TinkerPath } from './tinker-path.ts'
export type { ChatOptions, ServedTokenizer } from './tokenizer.ts'
export {
  type CheckpointRef,
  type ExportOptions,
  type LoadOptions,
  type SaveOptions,
  type SnapshotOptions,
  TrainingClient,
} from './training-client.ts'
export * from './types.ts'
