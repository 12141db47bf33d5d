// A whole server on loopback with fake engines, and the calls that tests of its routes begin with. Every JSON answer is held
// against the document. Tenants are keys: `tml-anna` and `tml-bert` know nothing of each other.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { expect } from 'vitest'
import { problemWithAnswer } from '../../../openapi/answers.ts'
import { registerBackend } from '../../backends/registry.ts'
import { type FakeBackend, fakeBackend } from '../../backends/testing/fake-backend.ts'
import type { FakeEngineOptions } from '../../backends/testing/fake-engine.ts'
import { type OperationId, operations } from '../../generated/operations.ts'
import { loadConfig, type ServerConfig } from '../config.ts'
import { type RunningServer, startServer } from '../server.ts'
import type { DatabasePlace } from '../store/database.ts'
import { newDatabase, type TestDatabase } from '../store/testing/databases.ts'

const CHECKPOINT = join(import.meta.dirname, '../../backends/transformers/goldens/llama-tied/checkpoint')

// biome-ignore lint/suspicious/noExplicitAny: answers are held against the document, at run time
export type Json = any

export interface Sent {
  readonly key?: string
  /** For the parameters in braces of the operation's path. */
  readonly params?: Readonly<Record<string, string>>
  readonly query?: Readonly<Record<string, string | number>>
  readonly body?: unknown
  readonly headers?: Readonly<Record<string, string>>
  /** Aborts it: the caller goes away. */
  readonly signal?: AbortSignal
}

export class TestServer {
  readonly stateDir = mkdtempSync(join(tmpdir(), 'twinkle-rest-'))
  readonly backend: FakeBackend
  readonly #settings: Partial<ServerConfig>
  #server!: RunningServer
  #database: TestDatabase | undefined

  constructor(settings: Partial<ServerConfig> = {}, engine: FakeEngineOptions = {}) {
    this.#settings = settings
    this.backend = fakeBackend(engine)
  }

  async start(): Promise<void> {
    registerBackend(this.backend)
    this.#database ??= await newDatabase()
    const flags = { stateDir: this.stateDir, port: 0, database: this.#database.url, models: [`org/tiny=${CHECKPOINT}`] }
    const { config } = await loadConfig({ flags, env: {} })
    const models = config.models.filter((m) => m.name === 'org/tiny')
    const settings = { ...config, models, backend: 'fake', holdSeconds: 20, ...this.#settings }
    this.#server = await startServer(settings, pino({ level: 'silent' }))
  }

  /** For looking into its database, or for what the command line does to it. */
  get place(): DatabasePlace {
    return { database: this.#database?.url ?? 'sqlite', stateDir: this.stateDir }
  }

  get url(): string {
    return this.#server.url
  }

  async restart(): Promise<void> {
    await this.#server.close()
    await this.start()
  }

  async stop(): Promise<void> {
    await this.#server.close()
    await this.#database?.remove()
    rmSync(this.stateDir, { recursive: true })
  }

  /** The answer as it is. */
  async send(id: OperationId, { key = 'tml-anna', params = {}, query = {}, body, headers, signal }: Sent = {}) {
    const { method, path } = operations[id]
    const filled = path.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(params[name] ?? ''))
    const search = new URLSearchParams(Object.entries(query).map(([k, v]): [string, string] => [k, String(v)]))
    return fetch(`${this.url}${filled}?${search}`, {
      method: method.toUpperCase(),
      redirect: 'manual',
      ...(signal && { signal }),
      headers: { 'x-api-key': key, ...(body !== undefined && { 'content-type': 'application/json' }), ...headers },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    })
  }

  /** The JSON of an answer with this status. */
  async call(id: OperationId, sent?: Sent, status: number = operations[id].success.status): Promise<Json> {
    const answer = await this.send(id, sent)
    const text = await answer.text()
    const json = text === '' ? undefined : JSON.parse(text)
    expect({ status: answer.status, json }).toMatchObject({ status })
    expect(problemWithAnswer(id, answer.status, json)).toBeUndefined()
    return json
  }

  /** What the future of a submission holds. */
  async result(id: OperationId, sent: Sent): Promise<Json> {
    const { request_id } = await this.call(id, sent)
    return this.call('retrieveFuture', { ...sent, body: { request_id } })
  }

  async newSession(body: Record<string, unknown> = {}, key?: string): Promise<string> {
    const { session_id } = await this.call('createSession', { ...(key && { key }), body })
    return session_id
  }

  async newModel(session_id: string, changes: Record<string, unknown> = {}, key?: string): Promise<string> {
    const body = { session_id, model_seq_id: 0, base_model: 'org/tiny', lora_config: { rank: 4 }, ...changes }
    return (await this.result('createModel', { ...(key && { key }), body })).model_id
  }

  /** Gives the tinker path. */
  async save(model_id: string, path: string, changes: Record<string, unknown> = {}): Promise<string> {
    return (await this.result('saveWeights', { body: { model_id, path, ...changes } })).path
  }

  async saveForSampler(model_id: string, path: string): Promise<string> {
    return (await this.result('saveWeightsForSampler', { body: { model_id, path } })).path
  }
}
