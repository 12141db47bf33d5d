// The tables, as Kysely sees them. Times are milliseconds since 1970. 64-bit integers of the wire are TEXT: SQLite drivers
// and JSON round them otherwise. Every row that a client can name carries its tenant, and every query asks for it.

import type { Generated } from 'kysely'

export interface Database {
  sessions: SessionTable
  runs: RunTable
  operations: OperationTable
  checkpoints: CheckpointTable
  sampling_sessions: SamplingSessionTable
  refused_numbers: RefusedNumberTable
  weight_copies: WeightCopyTable
  audit: AuditTable
  usage: UsageTable
  storage_usage: StorageUsageTable
  meters: MeterTable
  engine_leases: EngineLeaseTable
  tenants: TenantTable
  api_keys: ApiKeyTable
  key_changes: KeyChangesTable
  twinkle_owners: TwinkleOwnerTable
  twinkle_adapters: TwinkleAdapterTable
  processors: ProcessorTable
  twinkle_samplers: TwinkleSamplerTable
}

export interface SessionTable {
  id: string
  tenant: string
  /** JSON. */
  tags: string
  user_metadata: string
  sdk_version: string | null
  project_id: string | null
  display_name: string | null
  created_at: number
  heartbeat_at: number
  state: 'active' | 'finished' | 'expired'
  finish_reason: string | null
  finish_detail: string | null
  /** Id of the key that opened it; null before keys were written down. */
  api_key: string | null
}

/** A training run: the life of one adapter. Its id is the `model_id` of the wire. */
export interface RunTable {
  id: string
  tenant: string
  session: string
  base_model: string
  rank: number
  alpha: number
  seed: string
  train_attention: number
  train_mlp: number
  train_unembed: number
  user_metadata: string
  /** The checkpoint it started from, if any. */
  parent: string | null
  state: 'creating' | 'ready' | 'failed' | 'unloaded'
  /** Weights and optimiser state, below the state directory, as they were after all up to `restart_position`. */
  restart_folder: string | null
  /** Operations beyond it are repeated when the adapter is brought back. */
  restart_position: Generated<number>
  /** All numbers up to it have had their turn: their rows may be gone. */
  used_through: Generated<number>
  created_at: number
  last_request_at: number
  /** In which it was created; both may use it. Twinkle's have a row of settings too, which operations change. */
  protocol: Generated<'tinker' | 'twinkle'>
}

export type OperationKind =
  | 'create_model'
  | 'unload_model'
  | 'forward'
  | 'forward_backward'
  | 'clip_gradients'
  | 'zero_grad'
  | 'optim_step'
  | 'save_weights'
  | 'save_weights_for_sampler'
  | 'load_weights'
  | 'sample'

/** The journal: one row for each acknowledged operation. */
export interface OperationTable {
  /** The `request_id` of the wire. */
  id: string
  tenant: string
  session: string | null
  /** The run or sampling session that it is about. */
  subject: string | null
  kind: OperationKind
  /** Protocol identity, such as `run:<model_id>:<seq_id>`: a repeated submission finds the first. Null = none given. */
  identity: string | null
  /** The number that its client gave it, from 1; null = none: the order of arrival counts. */
  seq: number | null
  /** Its place among all that was started, written when it starts: a replay repeats this order. Null = not started yet. */
  position: number | null
  payload_hash: string
  /** The call in its canonical encoding; large ones are in a file of the state directory. */
  payload: Uint8Array | null
  payload_file: string | null
  /** TrainingPlan as JSON: what a replay needs to compute the same bits. */
  plan: string | null
  state: 'queued' | 'running' | 'done' | 'failed'
  /** `expired`: the answer was kept as long as the policy says, and is gone. */
  result_type: 'json' | 'training' | 'sample' | 'expired' | null
  result: Uint8Array | null
  result_file: string | null
  error_code: string | null
  error_category: 'user' | 'server' | null
  error_message: string | null
  created_at: number
  started_at: number | null
  finished_at: number | null
  /** When its answer was first fetched. */
  delivered_at: number | null
}

/** A number whose request was refused: it had its turn. Kept while operations with lower numbers may still come. */
export interface RefusedNumberTable {
  run: string
  seq: number
}

export type CheckpointKind = 'weights' | 'sampler_weights' | 'external_weights'

export interface CheckpointTable {
  id: Generated<number>
  tenant: string
  run: string
  kind: CheckpointKind
  name: string
  /** Below the state directory. */
  folder: string
  /** JSON: [{name, bytes, sha256}]. */
  files: string
  bytes: number
  base_model: string
  rank: number
  alpha: number
  train_attention: number
  train_mlp: number
  train_unembed: number
  has_optimizer: number
  user_metadata: string
  created_at: number
  expires_at: number | null
  /** 1: every tenant may read it. */
  published: Generated<number>
}

export interface SamplingSessionTable {
  id: string
  tenant: string
  session: string
  base_model: string
  model_path: string | null
  /** Below the state directory: the frozen adapter; null samples the base model. */
  folder: string | null
  created_at: number
  /** Clients that joined after the first: each has a number of its own. */
  copies: Generated<number>
  /** The run whose newest weights it draws from; null = always from `folder`. */
  inflight_run: string | null
  /** Of a folder that no checkpoint names, on disk. */
  bytes: Generated<number>
}

/** Answers of copy_weights by the key of the request, so that a repeated one makes no second copy. */
export interface WeightCopyTable {
  tenant: string
  key: string
  request_hash: string
  path: string
}

/** What was done to a tenant's things (services/audit.ts). */
export interface AuditTable {
  id: Generated<number>
  tenant: string
  event: string
  /** JSON. */
  details: string
  created_at: number
}

/** Tokens, and checkpoints that were saved, by the hour (services/usage.ts). */
export interface UsageTable {
  tenant: string
  /** Its begin. */
  hour: number
  /** Empty: of no session. */
  session: string
  base_model: string
  kind: 'training' | 'sampling_prefill' | 'sampling_prefill_cached' | 'sampling_sample' | 'checkpoint'
  /** Of checkpoints, how many. */
  tokens: number
}

/** Bytes of checkpoints times hours, by the hour (services/storage-meter.ts). */
export interface StorageUsageTable {
  tenant: string
  hour: number
  session: string
  base_model: string
  byte_hours: number
}

/** When a meter was last read. */
export interface MeterTable {
  name: string
  at: number
}

/** Tenants that were given a name, a key or limits; a tenant that only stands behind a key of the configuration has no row. */
export interface TenantTable {
  id: string
  name: string
  /** JSON: what differs from the limits of the configuration. */
  limits: string
  created_at: number
}

/** API keys that were made by `twinkle keys`. Only the key's hash is known. */
export interface ApiKeyTable {
  id: string
  tenant: string
  /** SHA-256, hexadecimal. */
  hash: string
  label: string
  role: 'admin' | 'member'
  created_at: number
  expires_at: number | null
  revoked_at: number | null
  /** Rounded to minutes: it is written now and then. */
  last_used_at: number | null
}

/** One row: a number that grows with every change of tenants and keys, so that servers see when to read them again. */
export interface KeyChangesTable {
  id: number
  version: number
}

/** Which server has the engine of a base model (services/engine-leases.ts). Times are the database's. */
export interface EngineLeaseTable {
  base_model: string
  /** Null: nobody. */
  owner: string | null
  /** One more with every owner. */
  fence: number
  expires_at: number
  /** EngineInfo as JSON, of the last engine that was open; null before the first. */
  info: string | null
}

/** The session of an owner that has none of its own: clients before Twinkle's sessions, and whoever names no owner. */
export interface TwinkleOwnerTable {
  tenant: string
  owner: string
  session: string
}

/** The newest adapter of a name of an owner (services/twinkle-adapters.ts). */
export interface TwinkleAdapterTable {
  run: string
  tenant: string
  owner: string
  name: string
  /** AdapterState as JSON. */
  state: string
}

/** An object of Twinkle's processor routes; how it is made anew stands in its files (services/processor-recipes.ts). */
export interface ProcessorTable {
  /** Without `pid:`. */
  id: string
  tenant: string
  /** It ends some time after this. */
  session: string
  /** How many of its files hold. */
  steps: number
  /** JSON: where its iteration stands; null before the first. */
  position: string | null
  created_at: number
  /** Rounded to minutes. */
  used_at: number
}

/** What an owner has set for sampling from a base model (services/twinkle-samplers.ts). */
export interface TwinkleSamplerTable {
  tenant: string
  owner: string
  base_model: string
  /** It goes with this. */
  session: string
  /** SamplerState as JSON. */
  state: string
}
