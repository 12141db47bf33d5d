// The schema's history. A migration that has been released is never edited; a new one is added below it.

import { type Kysely, type Migration, type MigrationProvider, sql } from 'kysely'
import { isPostgres } from './dialect.ts'

const migrations: Record<string, Migration> = {
  '001-first': {
    async up(db: Kysely<unknown>) {
      await db.schema
        .createTable('sessions')
        .addColumn('id', 'text', (c) => c.primaryKey())
        .addColumn('tenant', 'text', (c) => c.notNull())
        .addColumn('tags', 'text', (c) => c.notNull())
        .addColumn('user_metadata', 'text', (c) => c.notNull())
        .addColumn('sdk_version', 'text')
        .addColumn('project_id', 'text')
        .addColumn('display_name', 'text')
        .addColumn('created_at', 'bigint', (c) => c.notNull())
        .addColumn('heartbeat_at', 'bigint', (c) => c.notNull())
        .addColumn('state', 'text', (c) => c.notNull())
        .addColumn('finish_reason', 'text')
        .addColumn('finish_detail', 'text')
        .execute()
      await db.schema
        .createTable('runs')
        .addColumn('id', 'text', (c) => c.primaryKey())
        .addColumn('tenant', 'text', (c) => c.notNull())
        .addColumn('session', 'text', (c) => c.notNull())
        .addColumn('base_model', 'text', (c) => c.notNull())
        .addColumn('rank', 'integer', (c) => c.notNull())
        .addColumn('alpha', 'double precision', (c) => c.notNull())
        .addColumn('seed', 'text', (c) => c.notNull())
        .addColumn('train_attention', 'integer', (c) => c.notNull())
        .addColumn('train_mlp', 'integer', (c) => c.notNull())
        .addColumn('train_unembed', 'integer', (c) => c.notNull())
        .addColumn('user_metadata', 'text', (c) => c.notNull())
        .addColumn('parent', 'text')
        .addColumn('state', 'text', (c) => c.notNull())
        .addColumn('created_at', 'bigint', (c) => c.notNull())
        .addColumn('last_request_at', 'bigint', (c) => c.notNull())
        .execute()
      await db.schema.createIndex('runs_session').on('runs').column('session').execute()
      await db.schema
        .createTable('operations')
        .addColumn('id', 'text', (c) => c.primaryKey())
        .addColumn('tenant', 'text', (c) => c.notNull())
        .addColumn('session', 'text')
        .addColumn('subject', 'text')
        .addColumn('kind', 'text', (c) => c.notNull())
        .addColumn('identity', 'text', (c) => c.unique())
        .addColumn('payload_hash', 'text', (c) => c.notNull())
        .addColumn('payload', sql`blob`)
        .addColumn('payload_file', 'text')
        .addColumn('plan', 'text')
        .addColumn('state', 'text', (c) => c.notNull())
        .addColumn('result_type', 'text')
        .addColumn('result', sql`blob`)
        .addColumn('result_file', 'text')
        .addColumn('error_code', 'text')
        .addColumn('error_category', 'text')
        .addColumn('error_message', 'text')
        .addColumn('created_at', 'bigint', (c) => c.notNull())
        .addColumn('started_at', 'bigint')
        .addColumn('finished_at', 'bigint')
        .execute()
      await db.schema.createIndex('operations_open').on('operations').columns(['state', 'created_at']).execute()
      await db.schema.createIndex('operations_subject').on('operations').column('subject').execute()
      await db.schema
        .createTable('checkpoints')
        .addColumn('id', 'integer', (c) => c.primaryKey().autoIncrement())
        .addColumn('tenant', 'text', (c) => c.notNull())
        .addColumn('run', 'text', (c) => c.notNull())
        .addColumn('kind', 'text', (c) => c.notNull())
        .addColumn('name', 'text', (c) => c.notNull())
        .addColumn('folder', 'text', (c) => c.notNull())
        .addColumn('files', 'text', (c) => c.notNull())
        .addColumn('bytes', 'bigint', (c) => c.notNull())
        .addColumn('base_model', 'text', (c) => c.notNull())
        .addColumn('rank', 'integer', (c) => c.notNull())
        .addColumn('alpha', 'double precision', (c) => c.notNull())
        .addColumn('train_attention', 'integer', (c) => c.notNull())
        .addColumn('train_mlp', 'integer', (c) => c.notNull())
        .addColumn('train_unembed', 'integer', (c) => c.notNull())
        .addColumn('has_optimizer', 'integer', (c) => c.notNull())
        .addColumn('user_metadata', 'text', (c) => c.notNull())
        .addColumn('created_at', 'bigint', (c) => c.notNull())
        .addColumn('expires_at', 'bigint')
        .addUniqueConstraint('checkpoints_path', ['run', 'kind', 'name'])
        .execute()
      await db.schema
        .createTable('sampling_sessions')
        .addColumn('id', 'text', (c) => c.primaryKey())
        .addColumn('tenant', 'text', (c) => c.notNull())
        .addColumn('session', 'text', (c) => c.notNull())
        .addColumn('base_model', 'text', (c) => c.notNull())
        .addColumn('model_path', 'text')
        .addColumn('folder', 'text')
        .addColumn('created_at', 'bigint', (c) => c.notNull())
        .execute()
      await db.schema.createIndex('sampling_sessions_session').on('sampling_sessions').column('session').execute()
    },
  },
  '002-rest': {
    async up(db: Kysely<unknown>) {
      await db.schema
        .alterTable('checkpoints')
        .addColumn('published', 'integer', (c) => c.notNull().defaultTo(0))
        .execute()
      await db.schema.createIndex('checkpoints_tenant').on('checkpoints').columns(['tenant', 'created_at']).execute()
      await db.schema.createIndex('checkpoints_expiry').on('checkpoints').column('expires_at').execute()
      await db.schema.createIndex('runs_tenant').on('runs').columns(['tenant', 'created_at']).execute()
      await db.schema.createIndex('sessions_tenant').on('sessions').columns(['tenant', 'created_at']).execute()
      await db.schema
        .alterTable('sampling_sessions')
        .addColumn('copies', 'integer', (c) => c.notNull().defaultTo(0))
        .execute()
      await db.schema
        .createTable('weight_copies')
        .addColumn('tenant', 'text', (c) => c.notNull())
        .addColumn('key', 'text', (c) => c.notNull())
        .addColumn('request_hash', 'text', (c) => c.notNull())
        .addColumn('path', 'text', (c) => c.notNull())
        .addPrimaryKeyConstraint('weight_copies_key', ['tenant', 'key'])
        .execute()
    },
  },
  '003-durable': {
    async up(db: Kysely<unknown>) {
      const alter = (table: string) => db.schema.alterTable(table)
      await alter('operations').addColumn('seq', 'bigint').execute()
      await alter('operations').addColumn('position', 'bigint').execute()
      await alter('operations').addColumn('delivered_at', 'bigint').execute()
      await alter('runs').addColumn('restart_folder', 'text').execute()
      await alter('runs')
        .addColumn('restart_position', 'bigint', (c) => c.notNull().defaultTo(0))
        .execute()
      await db.schema.createIndex('operations_position').on('operations').column('position').execute()
      await db.schema.createIndex('operations_finished').on('operations').column('finished_at').execute()
      await db.schema
        .createTable('refused_numbers')
        .addColumn('run', 'text', (c) => c.notNull())
        .addColumn('seq', 'bigint', (c) => c.notNull())
        .addPrimaryKeyConstraint('refused_numbers_key', ['run', 'seq'])
        .execute()
      // Of what was live before, nobody wrote down in which order it had been carried out.
      await sql`update runs set state = 'unloaded' where state in ('creating', 'ready', 'lost')`.execute(db)
      await sql`update operations set state = 'failed', error_code = 'MODEL_GONE', error_category = 'server',
        error_message = 'The server was replaced by one that keeps another journal.', finished_at = created_at
        where state in ('queued', 'running')`.execute(db)
    },
  },
  '004-audit': {
    async up(db: Kysely<unknown>) {
      await db.schema
        .createTable('audit')
        .addColumn('id', 'integer', (c) => c.primaryKey().autoIncrement())
        .addColumn('tenant', 'text', (c) => c.notNull())
        .addColumn('event', 'text', (c) => c.notNull())
        .addColumn('details', 'text', (c) => c.notNull())
        .addColumn('created_at', 'bigint', (c) => c.notNull())
        .execute()
      await db.schema.createIndex('audit_tenant').on('audit').columns(['tenant', 'created_at']).execute()
    },
  },
  '005-usage': {
    async up(db: Kysely<unknown>) {
      await db.schema
        .createTable('usage')
        .addColumn('tenant', 'text', (c) => c.notNull())
        .addColumn('hour', 'bigint', (c) => c.notNull())
        .addColumn('session', 'text', (c) => c.notNull())
        .addColumn('base_model', 'text', (c) => c.notNull())
        .addColumn('kind', 'text', (c) => c.notNull())
        .addColumn('tokens', 'bigint', (c) => c.notNull())
        .addPrimaryKeyConstraint('usage_key', ['tenant', 'hour', 'session', 'base_model', 'kind'])
        .execute()
    },
  },
  '006-keys': {
    async up(db: Kysely<unknown>) {
      await db.schema
        .createTable('tenants')
        .addColumn('id', 'text', (c) => c.primaryKey())
        .addColumn('name', 'text', (c) => c.notNull().unique())
        .addColumn('limits', 'text', (c) => c.notNull())
        .addColumn('created_at', 'bigint', (c) => c.notNull())
        .execute()
      await db.schema
        .createTable('api_keys')
        .addColumn('id', 'text', (c) => c.primaryKey())
        .addColumn('tenant', 'text', (c) => c.notNull())
        .addColumn('hash', 'text', (c) => c.notNull().unique())
        .addColumn('label', 'text', (c) => c.notNull())
        .addColumn('role', 'text', (c) => c.notNull())
        .addColumn('created_at', 'bigint', (c) => c.notNull())
        .addColumn('expires_at', 'bigint')
        .addColumn('revoked_at', 'bigint')
        .addColumn('last_used_at', 'bigint')
        .execute()
      await db.schema.createIndex('api_keys_tenant').on('api_keys').column('tenant').execute()
      await db.schema
        .createTable('key_changes')
        .addColumn('id', 'integer', (c) => c.primaryKey())
        .addColumn('version', 'bigint', (c) => c.notNull())
        .execute()
      await sql`insert into key_changes (id, version) values (1, 0)`.execute(db)
    },
  },
  '008-rest': {
    async up(db: Kysely<unknown>) {
      await db.schema.alterTable('sampling_sessions').addColumn('inflight_run', 'text').execute()
      await db.schema.createIndex('sampling_inflight').on('sampling_sessions').column('inflight_run').execute()
      await db.schema.alterTable('sessions').addColumn('api_key', 'text').execute()
      await db.schema
        .createTable('storage_usage')
        .addColumn('tenant', 'text', (c) => c.notNull())
        .addColumn('hour', 'bigint', (c) => c.notNull())
        .addColumn('session', 'text', (c) => c.notNull())
        .addColumn('base_model', 'text', (c) => c.notNull())
        .addColumn('byte_hours', 'double precision', (c) => c.notNull())
        .addPrimaryKeyConstraint('storage_usage_key', ['tenant', 'hour', 'session', 'base_model'])
        .execute()
      await db.schema
        .createTable('meters')
        .addColumn('name', 'text', (c) => c.primaryKey())
        .addColumn('at', 'bigint', (c) => c.notNull())
        .execute()
    },
  },
  '009-postgres': {
    async up(db: Kysely<unknown>) {
      // SQLite has one writer, which counts by looking; these are handed out to several (journal.ts).
      if (isPostgres(db)) await sql`create sequence operation_positions`.execute(db)
    },
  },
  '010-shared': {
    async up(db: Kysely<unknown>) {
      await db.schema
        .createTable('engine_leases')
        .addColumn('base_model', 'text', (c) => c.primaryKey())
        .addColumn('owner', 'text')
        .addColumn('fence', 'bigint', (c) => c.notNull())
        .addColumn('expires_at', 'bigint', (c) => c.notNull())
        .addColumn('info', 'text')
        .execute()
      await db.schema.createIndex('sessions_silence').on('sessions').columns(['state', 'heartbeat_at']).execute()
    },
  },
  '011-sampler-bytes': {
    async up(db: Kysely<unknown>) {
      await db.schema
        .alterTable('sampling_sessions')
        .addColumn('bytes', 'bigint', (c) => c.notNull().defaultTo(0))
        .execute()
    },
  },
  '012-numbers': {
    async up(db: Kysely<unknown>) {
      await db.schema
        .alterTable('runs')
        .addColumn('used_through', 'bigint', (c) => c.notNull().defaultTo(0))
        .execute()
    },
  },
  '031-twinkle': {
    async up(db: Kysely<unknown>) {
      await db.schema
        .alterTable('runs')
        .addColumn('protocol', 'text', (c) => c.notNull().defaultTo('tinker'))
        .execute()
      await db.schema
        .createTable('twinkle_owners')
        .addColumn('tenant', 'text', (c) => c.notNull())
        .addColumn('owner', 'text', (c) => c.notNull())
        .addColumn('session', 'text', (c) => c.notNull())
        .addPrimaryKeyConstraint('twinkle_owners_key', ['tenant', 'owner'])
        .execute()
      await db.schema
        .createTable('twinkle_adapters')
        .addColumn('run', 'text', (c) => c.primaryKey())
        .addColumn('tenant', 'text', (c) => c.notNull())
        .addColumn('owner', 'text', (c) => c.notNull())
        .addColumn('name', 'text', (c) => c.notNull())
        .addColumn('state', 'text', (c) => c.notNull())
        .addUniqueConstraint('twinkle_adapters_name', ['tenant', 'owner', 'name'])
        .execute()
    },
  },
  '032-processors': {
    async up(db: Kysely<unknown>) {
      await db.schema
        .createTable('processors')
        .addColumn('id', 'text', (c) => c.primaryKey())
        .addColumn('tenant', 'text', (c) => c.notNull())
        .addColumn('session', 'text', (c) => c.notNull())
        .addColumn('steps', 'integer', (c) => c.notNull())
        .addColumn('position', 'text')
        .addColumn('created_at', 'bigint', (c) => c.notNull())
        .addColumn('used_at', 'bigint', (c) => c.notNull())
        .execute()
      await db.schema.createIndex('processors_tenant').on('processors').column('tenant').execute()
    },
  },
  '032-samplers': {
    async up(db: Kysely<unknown>) {
      await db.schema
        .createTable('twinkle_samplers')
        .addColumn('tenant', 'text', (c) => c.notNull())
        .addColumn('owner', 'text', (c) => c.notNull())
        .addColumn('base_model', 'text', (c) => c.notNull())
        .addColumn('session', 'text', (c) => c.notNull())
        .addColumn('state', 'text', (c) => c.notNull())
        .addPrimaryKeyConstraint('twinkle_samplers_key', ['tenant', 'owner', 'base_model'])
        .execute()
      await db.schema.createIndex('twinkle_samplers_session').on('twinkle_samplers').column('session').execute()
    },
  },
}

export const migrationProvider: MigrationProvider = { getMigrations: async () => migrations }
