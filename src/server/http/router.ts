// The router is made from the generated table of operations and a typed map of handlers. For each request: key, body,
// validation, handler, answer. Operations that are only planned, unknown paths and wrong methods get errors that name what
// there is. Knows no operation by name.

import type { IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import Router from '@koa/router'
import type { Operation, OperationId } from '../../generated/operations.ts'
import { bodyValidators, pathValidators, queryValidators } from '../../generated/validators.ts'
import { type ServiceError, serviceError } from '../errors.ts'
import { nearest } from '../nearest.ts'
import type { Tenant } from '../services/tenants.ts'
import { type Authenticate, tenantOf } from './auth.ts'
import { discard, readBody, streamOf } from './body.ts'
import type { BodyBudget } from './body-budget.ts'
import { explainInvalid } from './explain-invalid.ts'
import type { BytesResult, Call, Handlers, JsonResult, StreamResult } from './handler.ts'
import { parseJson } from './json.ts'
import type { HttpContext, HttpMiddleware, RequestState } from './state.ts'

export type { BytesResult, Handlers, JsonResult, StreamResult } from './handler.ts'

const JSON_TYPE = 'application/json'
/** Archives are larger than what is kept in memory. */
const STREAMED_TYPE = 'application/x-tar'

export interface RouterParts {
  readonly authenticate: Authenticate
  /** Throws where a tenant may not call an operation at all. */
  readonly authorize?: (tenant: Tenant, operation: Operation) => void
  readonly budget: BodyBudget
  /** Of one body, as received and decoded. */
  readonly maxBodyBytes: number
  /** Of a JSON body: parsed, it takes many times its bytes. */
  readonly maxJsonBytes: number
  /** Which operations ask for a key; by default those that the document says. */
  readonly needsKey?: (operation: Operation) => boolean
  /** Told of a body that is refused unread or misread, before the error is answered: its number counts as used. */
  readonly onRefused?: (refusal: Refusal) => unknown
}

export interface Refusal {
  readonly operation: OperationId
  readonly tenant: Tenant | null
  /** JSON that does not fit the document, or what there is of a body that is too large or no JSON. */
  readonly body: unknown
}

type AnyHandler = (call: Call<OperationId>) => Promise<unknown>

/**
 * The middleware that answers everything.
 *
 * @example app.use(createRouter(operations, { ...tinkerHandlers(services), ...operatorHandlers }, parts))
 */
export function createRouter<K extends OperationId>(
  table: Readonly<Record<string, Operation>>,
  handlers: Handlers<K>,
  parts: RouterParts,
): HttpMiddleware {
  const router = new Router<RequestState>()
  const byId = handlers as unknown as Readonly<Record<string, AnyHandler | undefined>>
  for (const operation of Object.values(table)) {
    const handler = byId[operation.id]
    if (!handler && !operation.planned) throw new Error(`the operation ${operation.id} has no handler`)
    const serve = (byAlias: boolean) => async (ctx: HttpContext) => {
      ctx.state.operation = operation.id
      await answer(ctx, operation, handler, byAlias, parts)
    }
    router.register(operation.koaPath, [operation.method], serve(false))
    for (const alias of operation.aliases) router.register(alias, [operation.method], serve(true))
  }
  const routes = router.routes() as unknown as HttpMiddleware
  const served = Object.values(table).filter(({ planned }) => !planned)
  return async function route(ctx) {
    await routes(ctx, async () => {
      throw unrouted(ctx, router, served)
    })
  }
}

async function answer(
  ctx: HttpContext,
  operation: Operation,
  handler: AnyHandler | undefined,
  byAlias: boolean,
  parts: RouterParts,
): Promise<void> {
  const needsKey = parts.needsKey?.(operation) ?? operation.needsKey
  const tenant = needsKey ? await tenantOf(ctx.req.headers, parts.authenticate) : null
  if (tenant) {
    ctx.state.tenant = tenant.id
    parts.authorize?.(tenant, operation)
  }
  if (!handler) {
    const { id, method, path } = operation
    throw serviceError('PLANNED_OPERATION', { operation: id, method: method.toUpperCase(), path })
  }
  const params = checkPath(operation, ctx.params as Record<string, string>)
  const query = checkQuery(operation, ctx.query)
  const { body, release } = await takeBody(ctx, operation, tenant, parts)
  try {
    const { headers } = ctx.req
    const request = { id: ctx.state.requestId, method: ctx.method, headers, byAlias, signal: signalOf(ctx) }
    const call = { tenant, params, query, body, request } as unknown as Call<OperationId>
    const asked = futureIn(body)
    if (asked !== undefined) ctx.state.future = asked
    const result = await handler(call)
    const submitted = futureIn(result)
    if (submitted !== undefined) ctx.state.future = submitted
    send(ctx, operation, result)
  } finally {
    release()
  }
}

/** What is submitted, and asked for, has its id here (schema Submitted, RetrieveFutureRequest). */
function futureIn(value: unknown): string | undefined {
  const id = typeof value === 'object' && value !== null && 'request_id' in value ? value.request_id : undefined
  return typeof id === 'string' ? id : undefined
}

async function takeBody(ctx: HttpContext, operation: Operation, tenant: Tenant | null, parts: RouterParts) {
  if (!operation.hasBody) return { body: undefined, release: () => {} }
  const type = mediaType(ctx.req, operation)
  // Whatever the handler leaves of it is thrown away, so that the client reads its answer.
  if (type === STREAMED_TYPE) return { body: streamOf(ctx.req), release: () => discard(ctx.req) }
  const maxBytes = type === JSON_TYPE ? Math.min(parts.maxJsonBytes, parts.maxBodyBytes) : parts.maxBodyBytes
  const refused = (body: unknown) => parts.onRefused?.({ operation: operation.id as OperationId, tenant, body })
  // Those without a key share one share.
  const limits = { maxBytes, budget: parts.budget, owner: tenant?.id ?? '', onTooLarge: refused }
  const { bytes, received, release } = await readBody(ctx.req, limits)
  ctx.state.bytesIn = received
  try {
    if (type !== JSON_TYPE) return { body: bytes, release }
    const body = bytes.length === 0 ? {} : await jsonOr(bytes, refused)
    const problem = invalidBody(operation, body)
    if (problem === null) return { body, release }
    await refused(body)
    throw unfit(operation, 'BODY', problem)
  } catch (error) {
    release()
    throw error
  }
}

async function jsonOr(bytes: Uint8Array, refused: (body: unknown) => unknown): Promise<unknown> {
  try {
    return parseJson(bytes)
  } catch (error) {
    await refused(bytes)
    throw error
  }
}

function mediaType(request: IncomingMessage, operation: Operation): string {
  const given = request.headers['content-type']?.split(';')[0]?.trim().toLowerCase() ?? JSON_TYPE
  if (operation.requestMedia.includes(given)) return given
  throw serviceError('UNSUPPORTED_MEDIA_TYPE', { given, accepted: operation.requestMedia })
}

function invalidBody({ id }: Operation, body: unknown): string | null {
  const validate = bodyValidators[id as OperationId]
  return !validate || validate(body) ? null : explainInvalid(validate.errors, body)
}

function checkPath(operation: Operation, params: Record<string, string>): Record<string, string> {
  const validate = pathValidators[operation.id as OperationId]
  if (!validate || validate(params)) return params
  throw unfit(operation, 'PATH', explainInvalid(validate.errors, params, 'the path'))
}

/** Validation turns text into numbers and fills defaults in, so it gets an object of its own. */
function checkQuery(operation: Operation, given: HttpContext['query']): Record<string, unknown> {
  const query: Record<string, unknown> = { ...given }
  const validate = queryValidators[operation.id as OperationId]
  if (!validate || validate(query)) return query
  throw unfit(operation, 'QUERY', explainInvalid(validate.errors, query, 'the query'))
}

/** Twinkle's clients know 422 for what Tinker's know 400 for. */
function unfit({ id, document }: Operation, part: 'BODY' | 'PATH' | 'QUERY', problem: string): ServiceError {
  const code = document === 'twinkle' && part !== 'PATH' ? 'INVALID_ARGUMENTS' : (`INVALID_${part}` as const)
  return serviceError(code, { operation: id, problem })
}

/** Aborts when the client goes away. One that has closed its side may have: nothing is held for it. */
function signalOf({ req: { socket }, res }: HttpContext): AbortSignal {
  const controller = new AbortController()
  const leave = () => {
    if (!res.writableFinished) controller.abort(new Error('the client went away'))
  }
  if (socket.readableEnded) leave()
  socket.once('end', leave)
  res.once('close', () => {
    socket.removeListener('end', leave)
    leave()
  })
  return controller.signal
}

function send(ctx: HttpContext, operation: Operation, result: unknown): void {
  const { status = operation.success.status, headers = {} } =
    isBytes(result) || isStream(result) || isJson(result) ? result : {}
  ctx.status = status
  ctx.set(headers)
  if (isBytes(result)) {
    ctx.set('content-type', result.contentType)
    ctx.body = Buffer.from(result.bytes.buffer, result.bytes.byteOffset, result.bytes.byteLength)
  } else if (isStream(result)) {
    ctx.set('content-type', result.contentType)
    ctx.body = result.stream
    if (result.bytes !== undefined) ctx.length = result.bytes
  } else {
    ctx.type = JSON_TYPE
    ctx.body = Buffer.from(JSON.stringify(isJson(result) ? result.json : result === undefined ? {} : result))
  }
}

const isBytes = (result: unknown): result is BytesResult =>
  typeof result === 'object' && result !== null && 'bytes' in result && result.bytes instanceof Uint8Array

const isStream = (result: unknown): result is StreamResult =>
  typeof result === 'object' && result !== null && 'stream' in result && result.stream instanceof Readable

const isJson = (result: unknown): result is JsonResult =>
  typeof result === 'object' && result !== null && 'json' in result

function unrouted(ctx: HttpContext, router: Router<RequestState>, served: readonly Operation[]): ServiceError {
  const { method, path } = ctx
  const there = router.match(path, method).path
  if (there.length > 0) {
    const allowed = [...new Set(there.flatMap((layer) => layer.methods))].join(', ')
    ctx.set('allow', allowed)
    return serviceError('METHOD_NOT_ALLOWED', { method, path, allowed })
  }
  const [near] = nearest(
    path,
    served.map((operation) => operation.path),
    1,
  )
  const hint = near === undefined ? 'The API is under /api/v1.' : `Did you mean ${near}?`
  return serviceError('NOT_FOUND', { method, path, hint })
}
