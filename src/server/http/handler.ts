// What a handler is: it gets a call that has been checked against the document, and gives a result. It sees no Koa. All
// types are made from the document, so a handler that reads a field it does not have does not compile.

import type { IncomingHttpHeaders } from 'node:http'
import type { Readable } from 'node:stream'
import type {
  OperationId,
  operations,
  PathParams,
  QueryParams,
  RequestBody,
  SuccessBody,
} from '../../generated/operations.ts'
import type { Tenant } from '../services/tenants.ts'

type Operations = typeof operations

export interface Call<K extends OperationId> {
  /** Null only where the operation asks for no key. */
  readonly tenant: Operations[K]['needsKey'] extends true ? Tenant : Tenant | null
  readonly params: PathParams<K>
  readonly query: QueryParams<K>
  /** Bytes where protobuf was sent, a stream where an archive was; `undefined` for operations without a body. */
  readonly body: Body<K>
  readonly request: CallRequest
}

interface CallRequest {
  /** For errors and logs; not the id of a future. */
  readonly id: string
  readonly method: string
  readonly headers: IncomingHttpHeaders
  /** Whether it came by another path than the document's (Operation.aliases). */
  readonly byAlias: boolean
  /** Aborts when the client goes away before it was answered. */
  readonly signal: AbortSignal
}

type Body<K extends OperationId> = 'application/x-tar' extends Operations[K]['requestMedia'][number]
  ? UploadBody
  : TextBody<K>

/** What is too large for memory comes as it was sent: whoever reads it counts it. */
export type UploadBody = Readable

type TextBody<K extends OperationId> = 'application/x-protobuf' extends Operations[K]['requestMedia'][number]
  ? RequestBody<K> | Uint8Array
  : RequestBody<K>

type Headers = Readonly<Record<string, string>>

/** JSON with a status of its own. */
export interface JsonResult {
  readonly status?: number
  readonly json: unknown
  readonly headers?: Headers
}

export interface BytesResult {
  readonly status?: number
  readonly contentType: string
  readonly bytes: Uint8Array
  readonly headers?: Headers
}

/** Bytes that are read while they are sent. */
export interface StreamResult {
  readonly status?: number
  readonly contentType: string
  readonly stream: Readable
  /** How many will come; absent: nobody knows yet. */
  readonly bytes?: number
  readonly headers?: Headers
}

/** A plain value is the operation's JSON with its success status. */
export type Result<K extends OperationId> = SuccessBody<K> | JsonResult | BytesResult | StreamResult

/** An operation that answers nothing may give nothing. */
type Handler<K extends OperationId> = (
  call: Call<K>,
) => SuccessBody<K> extends undefined ? Promise<unknown> : Promise<Result<K>>

export type Handlers<K extends OperationId> = { readonly [P in K]: Handler<P> }
