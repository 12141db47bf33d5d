// What can be asked about runs, checkpoints and sessions, and done to them, without a session of one's own. Records have the
// protocol's fields in camelCase; times are ISO 8601 text.

import type { OperationId, PathParams, RequestBody, SuccessBody } from '../../generated/operations.ts'
import { type Camelized, camelized, snaked } from './camel.ts'
import { Connection, type ConnectionOptions } from './connection.ts'
import { ApiKey, claimsOf } from './credential.ts'
import { variable } from './environment.ts'
import { TinkerError, UnexpectedAnswerError } from './errors.ts'
import type { Call } from './http.ts'
import { parseJson } from './http-answer.ts'
import type { CallOptions } from './model-operations.ts'
import { sleep } from './timing.ts'
import { checkpointParams, parseTinkerPath } from './tinker-path.ts'

type Answer<K extends OperationId> = Promise<Camelized<SuccessBody<K>>>

export interface ScopeOptions extends CallOptions {
  /** `accessible`: what others have shared, too. Default `owned`. */
  readonly accessScope?: 'owned' | 'accessible'
}

export interface PageOptions extends CallOptions {
  readonly limit?: number
  readonly offset?: number
}

export interface CopyOptions extends CallOptions {
  readonly ttlSeconds?: number
  /** A key of the tenant that owns the checkpoint, where that is another one. */
  readonly weightsAccessToken?: string
}

export interface Identity {
  readonly userUrn: string
  readonly orgUrn: string
  readonly email: string | undefined
}

export interface ArchiveUrl {
  readonly url: string
  /** ISO 8601 */
  readonly expires: string
}

const TRACE_POLL_MS = 5000
const ARCHIVE_WAIT_MS = 30_000
const ARCHIVE_TRIES = 6
const ARCHIVE_LIFETIME_MS = 900_000

/**
 * ```ts
 * const rest = new RestClient({ baseUrl: 'http://127.0.0.1:8000', apiKey: 'tml-local' })
 * const { trainingRuns } = await rest.listTrainingRuns({ limit: 10 })
 * ```
 */
export class RestClient {
  readonly #connection: Connection

  /** Throws TinkerError without a key, or for a URL that is none. */
  constructor(options: ConnectionOptions | Connection = {}) {
    this.#connection = options instanceof Connection ? options : new Connection(options)
  }

  getServerCapabilities(options: CallOptions = {}): Answer<'getServerCapabilities'> {
    return this.#ask('getServerCapabilities', 'get_server_capabilities', options)
  }

  getTrainingRun(trainingRunId: string, options: ScopeOptions = {}): Answer<'getTrainingRun'> {
    return this.#run(trainingRunId, 'get_training_run', options)
  }

  getTrainingRunByTinkerPath(tinkerPath: string, options: ScopeOptions = {}): Answer<'getTrainingRun'> {
    return this.#run(parseTinkerPath(tinkerPath).trainingRunId, 'get_training_run_by_tinker_path', options)
  }

  listTrainingRuns(
    options: PageOptions & ScopeOptions & { readonly projectId?: string } = {},
  ): Answer<'listTrainingRuns'> {
    const { limit = 20, offset = 0, accessScope = 'owned', projectId } = options
    const query = {
      limit,
      offset,
      access_scope: accessScope,
      ...(projectId === undefined ? {} : { project_id: projectId }),
    }
    return this.#ask('listTrainingRuns', 'list_training_runs', options, { query })
  }

  getWeightsInfoByTinkerPath(tinkerPath: string, options: CallOptions = {}): Answer<'weightsInfo'> {
    const body = { tinker_path: tinkerPath }
    return this.#ask('weightsInfo', 'get_weights_info_by_tinker_path', options, { body })
  }

  listCheckpoints(trainingRunId: string, options: CallOptions = {}): Answer<'listCheckpoints'> {
    return this.#ask('listCheckpoints', 'list_checkpoints', options, { path: { run: trainingRunId } })
  }

  /** Of all runs, the newest first. */
  listUserCheckpoints(options: PageOptions = {}): Answer<'listUserCheckpoints'> {
    const { limit = 100, offset = 0 } = options
    return this.#ask('listUserCheckpoints', 'list_user_checkpoints', options, { query: { limit, offset } })
  }

  /** Signed addresses of a PEFT folder's files, which anybody can fetch without a key until they expire. */
  getExternalWeightsUrls(tinkerPath: string, options: CallOptions = {}): Answer<'getExternalWeightsUrls'> {
    const { trainingRunId, checkpointId, checkpointType } = parseTinkerPath(tinkerPath)
    if (checkpointType !== 'external') {
      throw new TinkerError(
        `${tinkerPath} is no external checkpoint: make one with TrainingClient.saveWeightsExternal.`,
      )
    }
    const path = checkpointParams(trainingRunId, checkpointId)
    return this.#ask('getExternalWeightsUrls', 'get_external_weights_urls', options, { path })
  }

  /**
   * A signed address of a checkpoint as a tar archive; waits while the server puts it together. Of SDKs up to 0.35: newer
   * ones export (`TrainingClient.saveWeightsExternal`) and fetch files.
   */
  async getCheckpointArchiveUrl(tinkerPath: string, options: CallOptions = {}): Promise<ArchiveUrl> {
    const { trainingRunId, checkpointId } = parseTinkerPath(tinkerPath)
    const path = checkpointParams(trainingRunId, checkpointId)
    const method = 'RestClient.get_checkpoint_archive_url_from_tinker_path'
    await this.#connection.open()
    const retry = { inner: ARCHIVE_TRIES, hasOuter: false, waitMs: ARCHIVE_WAIT_MS }
    const call = { path, method, redirect: 'manual' as const, retry, signal: options.signal }
    const answer = await this.#connection.http.send('getCheckpointArchive', call)
    const location = answer.headers.get('location')
    if (location !== null) {
      const expires = answer.headers.get('expires')
      const end = expires === null ? Date.now() + ARCHIVE_LIFETIME_MS : Date.parse(expires)
      return { url: new URL(location, answer.url).href, expires: new Date(end).toISOString() }
    }
    const body = parseJson(answer) as Partial<ArchiveUrl> | undefined
    if (typeof body?.url !== 'string') throw new UnexpectedAnswerError(`${answer.url} answered without an address.`)
    return { url: body.url, expires: body.expires ?? new Date(Date.now() + ARCHIVE_LIFETIME_MS).toISOString() }
  }

  async publishCheckpointFromTinkerPath(tinkerPath: string, options: CallOptions = {}): Promise<void> {
    await this.#checkpoint('publishCheckpoint', 'publish_checkpoint_from_tinker_path', tinkerPath, options)
  }

  async unpublishCheckpointFromTinkerPath(tinkerPath: string, options: CallOptions = {}): Promise<void> {
    await this.#checkpoint('unpublishCheckpoint', 'unpublish_checkpoint_from_tinker_path', tinkerPath, options)
  }

  /** In seconds from now; null keeps the checkpoint for good. */
  async setCheckpointTtlFromTinkerPath(
    tinkerPath: string,
    ttlSeconds: number | null,
    options: CallOptions = {},
  ): Promise<void> {
    const body = { ttl_seconds: ttlSeconds }
    await this.#checkpoint('setCheckpointTtl', 'set_checkpoint_ttl_from_tinker_path', tinkerPath, options, { body })
  }

  /** `checkpointId` is `KIND/NAME`, such as `weights/a`. */
  async deleteCheckpoint(trainingRunId: string, checkpointId: string, options: CallOptions = {}): Promise<void> {
    const path = `tinker://${trainingRunId}/${checkpointId}`
    await this.#checkpoint('deleteCheckpoint', 'delete_checkpoint', path, options)
  }

  async deleteCheckpointFromTinkerPath(tinkerPath: string, options: CallOptions = {}): Promise<void> {
    await this.#checkpoint('deleteCheckpoint', 'delete_checkpoint_from_tinker_path', tinkerPath, options)
  }

  /**
   * Copies a checkpoint into a project, TINKER_PROJECT_ID by default, and gives the path of the copy. The files are shared;
   * the copy belongs to a run that cannot be trained. Throws TinkerError without a project.
   */
  async copyWeights(
    tinkerPath: string,
    destinationProjectId: string | undefined = variable('TINKER_PROJECT_ID'),
    options: CopyOptions = {},
  ): Promise<string> {
    if (!destinationProjectId) throw new TinkerError('Give the destination project, or set TINKER_PROJECT_ID.')
    await this.#connection.open()
    const body = { destination_project_id: destinationProjectId }
    return copyWeights(this.#connection, tinkerPath, body, 'RestClient.copy_weights', options)
  }

  getSession(sessionId: string, options: ScopeOptions = {}): Answer<'getSession'> {
    const query = { access_scope: options.accessScope ?? 'owned' }
    return this.#ask('getSession', 'get_session', options, { path: { session_id: sessionId }, query })
  }

  listSessions(options: PageOptions & ScopeOptions = {}): Answer<'listSessions'> {
    const { limit = 20, offset = 0, accessScope = 'owned' } = options
    const query = { limit, offset, access_scope: accessScope }
    return this.#ask('listSessions', 'list_sessions', options, { query })
  }

  /** Pass `nextCursor` of an answer as `cursor` for what follows. */
  searchSessions(
    search: Partial<Camelized<RequestBody<'searchSessions'>>> = {},
    options: CallOptions = {},
  ): Answer<'searchSessions'> {
    const whole = { userMetadata: {}, owner: { type: 'own' }, limit: 50, ...search }
    const body = snaked(whole) as RequestBody<'searchSessions'>
    return this.#ask('searchSessions', 'search_sessions', options, { body })
  }

  async assignSessionProject(sessionId: string, projectId: string, options: CallOptions = {}): Promise<void> {
    const call = { path: { session_id: sessionId }, body: { project_id: projectId } }
    await this.#ask('assignSessionProject', 'assign_session_project', options, call)
  }

  /** A signed address of the session's timeline (.pftrace, for ui.perfetto.dev); waits until the server has made it. */
  async exportSessionTrace(sessionId: string, options: CallOptions = {}): Promise<string> {
    for (;;) {
      const call = { path: { session_id: sessionId } }
      const { status, url, error } = await this.#ask('exportSessionTrace', 'export_session_trace', options, call)
      if (status === 'ready' && url) return url
      if (status === 'failed') throw new TinkerError(`The trace of ${sessionId} could not be made: ${error}`)
      await sleep(TRACE_POLL_MS, options.signal)
    }
  }

  getSampler(samplerId: string, options: CallOptions = {}): Answer<'getSampler'> {
    return this.#ask('getSampler', 'get_sampler', options, { path: { sampler_id: samplerId } })
  }

  /** Whose key this is, by the token that the server exchanged it for. Throws TinkerError where it exchanges none. */
  async whoami(): Promise<Identity> {
    await this.#connection.open()
    const token = await this.#connection.http.credential.token()
    const isToken = !(this.#connection.http.credential instanceof ApiKey) || token.startsWith('eyJ')
    const claims = isToken ? claimsOf(token) : undefined
    if (!claims || (isToken && this.#connection.http.credential instanceof ApiKey && !isPassport(claims.iss))) {
      throw new TinkerError('This server takes API keys as they are, so a key does not say whose it is.')
    }
    return {
      userUrn: String(claims.sub),
      orgUrn: `tml:organization:${claims.org_id}`,
      email: typeof claims.email === 'string' ? claims.email : undefined,
    }
  }

  #run(run: string, pythonName: string, options: ScopeOptions): Answer<'getTrainingRun'> {
    const query = { access_scope: options.accessScope ?? 'owned' }
    return this.#ask('getTrainingRun', pythonName, options, { path: { run }, query })
  }

  #checkpoint<K extends 'publishCheckpoint' | 'unpublishCheckpoint' | 'setCheckpointTtl' | 'deleteCheckpoint'>(
    operation: K,
    pythonName: string,
    tinkerPath: string,
    options: CallOptions,
    call: Call<K> = {},
  ): Answer<K> {
    const { trainingRunId, checkpointId } = parseTinkerPath(tinkerPath)
    const path = checkpointParams(trainingRunId, checkpointId) as unknown as PathParams<K>
    return this.#ask(operation, pythonName, options, { ...call, path })
  }

  async #ask<K extends OperationId>(operation: K, pythonName: string, options: CallOptions, call: Call<K> = {}) {
    await this.#connection.open()
    const method = `RestClient.${pythonName}`
    return camelized(await this.#connection.http.json(operation, { ...call, method, signal: options.signal }))
  }
}

/** The idempotency key is the copy's own here: one request is one copy, however often it is sent. */
export async function copyWeights(
  { http }: Connection,
  sourcePath: string,
  destination: object,
  method: string,
  { ttlSeconds, weightsAccessToken, signal }: CopyOptions,
): Promise<string> {
  const { tinker_path: path } = await http.json('copyWeights', {
    body: { source_path: sourcePath, ...destination, ...(ttlSeconds === undefined ? {} : { ttl_seconds: ttlSeconds }) },
    headers: {
      'x-idempotency-key': crypto.randomUUID(),
      ...(weightsAccessToken === undefined ? {} : { 'x-tinker-weights-access-token': weightsAccessToken }),
    },
    method,
    signal,
  })
  return path
}

function isPassport(issuer: unknown): boolean {
  return typeof issuer === 'string' && issuer.startsWith('passport-')
}
