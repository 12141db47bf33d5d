// Every error the server can give, in one table: who is to blame, the HTTP status, what happened and what to do next.
// Handlers throw `serviceError(code, parameters)`; the HTTP boundary and failed futures write the same sentences.
// Knows nothing of Koa. Engines and the catalogue of names have tables of their own (`backends/engine-errors.ts`,
// `catalogue/catalogue-error.ts`): their errors pass through.

import { EngineError, type EngineFailure } from '../backends/backend.ts'
import { ENGINE_ERRORS, type EngineErrorCode } from '../backends/engine-errors.ts'
import { CatalogueError } from '../catalogue/catalogue-error.ts'
import { type ErrorCategory, type ErrorKind, server, user } from './error-kinds.ts'
import { nearest } from './nearest.ts'
import { storageProblem } from './storage-problems.ts'
import { TWINKLE_ERRORS } from './twinkle/twinkle-errors.ts'

export type { ErrorCategory } from './error-kinds.ts'

export const ERRORS = {
  // The door
  MISSING_KEY: user(
    401,
    'The request has no API key.',
    'Send one in the header X-API-Key, or as Authorization: Bearer KEY.',
  ),
  WRONG_KEY: user(401, 'This API key is not known here.', 'Use one of the keys of this server.'),
  KEY_REVOKED: user(401, 'The API key {key} was revoked.', 'Use another one, or ask the operator for it.'),
  KEY_EXPIRED: user(401, 'The time of the API key {key} is over.', 'Use another one, or ask the operator for it.'),
  UNKNOWN_KEY: user(404, 'There is no API key {id}.', 'See `twinkle keys list`.'),
  KEY_STAYS: user(403, 'This API key cannot be revoked by a request: {reason}.', 'Ask the operator of this server.'),
  UNKNOWN_TENANT: user(404, 'There is no tenant {name}.', '{tenants~name}'),
  TENANT_EXISTS: user(400, 'Another tenant is called {name}.', 'Use another name.'),
  INVALID_TENANT_NAME: user(
    400,
    'The tenant name {name} is not possible.',
    'Use 1 to 64 letters, digits, ".", "_", "@" and "-", the first one a letter or digit; not the id of another tenant.',
  ),
  TOKEN_OVER: user(401, 'This token is over.', 'Exchange the API key for a new one with auth/token.'),
  READER_KEY: user(
    403,
    'A weights access token does not open {operation}: as a key it is good for weights_info alone.',
    'Send a key of your own, and the token as weights_access_token.',
  ),
  NOT_FOUND: user(404, 'There is no {method} {path} here.', '{hint}'),
  METHOD_NOT_ALLOWED: user(405, '{path} does not take {method}.', 'It takes {allowed}.'),
  PLANNED_OPERATION: user(
    404,
    '{operation} ({method} {path}) is described in the API but not served yet: it is planned.',
    'Leave the call out, or use a later version of this server.',
  ),
  BUSY: server(
    429,
    'The server holds as many request bytes as it may ({limit} bytes).',
    'Send the request again after a second.',
  ),
  TENANT_BUSY: server(
    429,
    'The requests that this tenant is sending hold as many bytes as those of one tenant may ({limit} bytes).',
    'Send the request again after a second.',
  ),
  QUEUE_FULL: server(
    429,
    'Calls of this tenant that have not ended hold {held} bytes; they may hold {limit}.',
    'Send the request again after a second: results make room.',
  ),
  SHUTTING_DOWN: server(503, 'The server is shutting down.', 'Send the request again when it is back.'),
  INTERNAL: server(500, 'The server made a mistake.', 'Its log has the details under this request id.'),
  STORAGE: server(500, 'The state directory could not be {action}: {problem}.', 'Check its disk and permissions.'),
  STORAGE_FAILS: server(
    503,
    'The server cannot write down what it does: {problem}.',
    'Send the request again: it is taken when that is over. The operator sees it in GET /health and in the log.',
  ),
  CALL_LOST: server(
    500,
    'What was asked for in request {id} is lost: its file cannot be read.',
    'Submit the request again. The log of the server says what is wrong with the file.',
  ),
  ANSWER_LOST: server(
    500,
    'The answer to {id} is lost: its file cannot be read.',
    'It was carried out: look before you submit it again. The log of the server says what is wrong with the file.',
  ),
  NOT_RESTORABLE: server(
    500,
    'The model {id} cannot be brought back: {what} cannot be read.',
    'Create a new one, from a checkpoint of it if there is one. The log of the server says what is wrong with the file.',
  ),
  STATE_IN_USE: server(
    500,
    'The state directory {folder} is in use by another server.',
    'Stop that one, or give this one another --state-dir.',
  ),

  DATABASE_UNREACHABLE: server(
    500,
    'The database {database} cannot be opened: {problem}.',
    'Check that PostgreSQL runs there, and user, password and name in `database`.',
  ),
  DATABASE_UNFIT: server(
    500,
    'The database {database} cannot be used: {problem}.',
    'Make one with `create database twinkle encoding UTF8 template template0` on a primary server.',
  ),
  DATABASE_NEWER: server(
    500,
    'The database was written by another version of this server that knows more tables.',
    'Start that version, or give this one a database of its own.',
  ),
  DATABASE_AWAY: server(503, 'The database does not answer.', 'Send the request again.'),
  MISSING_PACKAGE: server(
    500,
    'The optional package {package} is not installed; it is needed for {use}.',
    'Install it with `npm install {package}`, or all that servers need with `npm install --include=optional`.',
  ),

  // Bodies
  BODY_TOO_LARGE: user(413, 'The body is larger than {limit} bytes.', 'Send fewer datums in a request.'),
  DECODED_BODY_TOO_LARGE: user(
    413,
    'The body decodes ({encoding}) to more than {limit} bytes.',
    'Send fewer datums in a request.',
  ),
  BODY_INCOMPLETE: user(400, 'The body ended after {received} of {expected} bytes.', 'Send the request again.'),
  UNSUPPORTED_MEDIA_TYPE: user(415, 'This operation takes no body of type {given}.', 'It takes {accepted}.'),
  UNSUPPORTED_CONTENT_ENCODING: user(415, 'The content encoding {given} is not known.', 'Known are {accepted}.'),
  MALFORMED_ZSTD: user(400, 'The body is not one complete zstd frame: {problem}.', 'Send one frame, or no encoding.'),
  MALFORMED_GZIP: user(400, 'The body is not valid gzip: {problem}.', 'Encode it anew, or send it plain.'),
  MALFORMED_JSON: user(400, 'The body is not valid JSON: {problem}.', 'Send one JSON value in UTF-8.'),
  BODY_TOO_COMPLEX: user(413, 'The body has {problem}.', 'Send a flatter one, or fewer datums in a request.'),
  MALFORMED_PROTOBUF: user(
    400,
    'The body is not a valid {message}: {problem}.',
    'Compare it with openapi/tinker_public.proto.',
  ),
  INVALID_BODY: user(400, 'The body does not fit {operation}: {problem}.', 'See its schema in openapi/.'),
  INVALID_ARGUMENTS: user(
    422,
    'The request does not fit {operation}: {problem}.',
    'See its schema in openapi/twinkle.yaml.',
  ),
  INVALID_QUERY: user(400, 'The query does not fit {operation}: {problem}.', 'See openapi/.'),
  INVALID_PATH: user(400, 'The path does not fit {operation}: {problem}.', 'See openapi/.'),

  // Sessions, models, futures
  UNKNOWN_SESSION: user(404, 'There is no session {id}.', 'Start one with create_session.'),
  SESSION_OVER: user(410, 'The session {id} is over.', 'Start a new one with create_session.'),
  UNKNOWN_MODEL_ID: user(404, 'There is no model {id}.', 'Create it with create_model or load_weights.'),
  MODEL_GONE: user(
    410,
    'The model {id} is gone: {reason}.',
    'Create a new one, from a checkpoint of it if there is one.',
  ),
  UNKNOWN_SAMPLER: user(
    404,
    'There is no sampling session {id}.',
    'Start one with create_sampling_session or save_weights_for_sampler.',
  ),
  UNKNOWN_FUTURE: user(404, 'There is no request {id}.', 'Poll with a request_id that this server gave you.'),
  ANSWER_EXPIRED: user(
    410,
    'The answer to {id} was kept as long as this server keeps answers, and is gone.',
    'Submit the request again if the answer is still wanted.',
  ),
  SEQ_CONFLICT: user(
    400,
    '{identity} was used before, for another request.',
    'Use the next number, or repeat the first request unchanged.',
  ),
  SEQ_TAKEN: user(
    400,
    'Number {seq} of model {id} was used before, or its turn is over.',
    'Number requests upwards from 1, each number once.',
  ),
  CANCELLED: user(400, '{what} was cancelled before it was done.', 'Submit it again if it is still wanted.'),

  // Base models and training
  UNKNOWN_BASE_MODEL: user(400, 'The base model {name} is not served here.', '{models~name}'),
  POISONOUS: server(
    500,
    'The engine of {name} ended {losses} times while it worked on this request, which is given up.',
    'The log of the server says how the engine ended. A smaller request may pass.',
  ),
  UNSUPPORTED_BY_ENGINE: user(400, 'The engine of {model} has no loss {loss}.', '{losses~loss}'),
  UNSUPPORTED_RULE: user(400, 'The engine of {model} has no optimizer {rule}.', '{rules~rule}'),
  CUSTOM_LOSS: user(
    400,
    'This server computes no custom losses: which operations their graphs may hold was never published ({what}).',
    'Give the function itself to forward_backward_custom, which runs it in the client, or use one of {losses}.',
  ),
  INVALID_RANK: user(400, 'The LoRA rank {rank} is not possible.', 'Use a whole number from 1 to {max}.'),
  NOTHING_TO_TRAIN: user(
    400,
    'train_attn, train_mlp and train_unembed are all false: there is nothing to train.',
    'Set at least one of them.',
  ),
  INVALID_SEED: user(400, 'The seed {seed} is not a 64-bit integer.', 'Use one from -2^63 to 2^64 - 1.'),
  UNKNOWN_OPTIMIZER: user(400, 'The optimizer {optimizer} is not available.', '{optimizers~optimizer}'),
  INVALID_LOSS_CONFIG: user(400, 'loss_fn_config.{key} = {value} is not possible.', 'It must be {expected}.'),
  UNKNOWN_LOSS_INPUT: user(400, 'Datum {datum}: there is no loss_fn_inputs.{name}.', '{names~name}'),
  MISSING_LOSS_INPUT: user(
    400,
    'Datum {datum}: the loss {loss} needs loss_fn_inputs.{name}.',
    'Send it with one value for each token.',
  ),
  NO_DATA: user(400, 'The request has no datums.', 'Send at least one.'),
  EMPTY_INPUT: user(400, '{where} has no tokens.', 'Send at least one.'),
  UNSUPPORTED_CHUNK: user(
    400,
    '{where} has a chunk of type {type}, which the text models served here cannot read.',
    'Send chunks of type encoded_text only.',
  ),
  INVALID_TOKENS: user(400, '{where}: {problem}.', 'Tokens are whole numbers from 0 to 2^31 - 1.'),
  INVALID_TENSOR: user(400, 'Datum {datum}: loss_fn_inputs.{name} {problem}.', 'Expected is {expected}.'),
  NON_FINITE_TENSOR: user(
    400,
    'Datum {datum}: loss_fn_inputs.{name} has {value} at position {position}.',
    'Send finite numbers; use weight 0 to leave a position out.',
  ),
  INVALID_SPANS: user(
    400,
    'Datum {datum}: {field} {problem}.',
    'Spans of both fields name a sequence, an offset and a length each; together they cover all {positions} positions.',
  ),
  TENSOR_TOO_LARGE: user(
    413,
    'Datum {datum}: loss_fn_inputs.{name} brings the sparse tensors of this request to more than {limit} cells.',
    'Send fewer columns or fewer datums in a request.',
  ),

  // Looking at data
  INVALID_DATUM_FILE: user(
    400,
    '{file} {problem}.',
    'It takes JSON or JSON lines: datums with model_input and loss_fn_inputs, lists of them, or whole requests.',
  ),
  NO_DATUMS: user(400, 'The request {id} is a {kind}, which has no datums.', 'Name a forward or a forward_backward.'),
  CALL_EXPIRED: user(
    410,
    'The call of {id} was kept as long as this server keeps calls, and is gone.',
    'Look at a newer one; `twinkle state show` says how long calls are kept.',
  ),

  // Sampling
  NOTHING_TO_SAMPLE: user(
    400,
    'The request names nothing to sample from.',
    'Send sampling_session_id, model_path or base_model.',
  ),
  INVALID_SAMPLING: user(400, '{field} = {value} is not possible.', 'It must be {expected}.'),
  NO_STABILITY_INFO: user(
    400,
    'record_stability_info prepares for the loss stable_reinforce, whose formula is not public. Served are {losses}.',
    'Choose one of these and leave the field out; in the cookbook: loss_fn=importance_sampling.',
  ),
  UNSUPPORTED_FIELD: user(400, 'The field {field} of {operation} is not supported yet.', 'Leave it out.'),

  // OpenAI's routes
  UNKNOWN_MODEL: user(
    404,
    'There is no model {model} for this key.',
    'It is a base model, a tinker:// path or a run of the tenant. {models~model}',
  ),
  RUN_NOT_SAVED: user(
    404,
    'The run {run} has no saved weights.',
    'Save them with save_weights_for_sampler, and ask again.',
  ),
  UNSERVED_FIELD: user(400, 'The field {field} of {operation} is not served.', 'Leave it out. {fields~field}'),
  UNSERVED_VALUE: user(400, '{field} = {value} is not served.', 'It may be {expected}.'),
  INVALID_MESSAGE: user(400, '{field} {problem}.', 'Send {expected}.'),
  TEMPLATE_REFUSED: user(
    400,
    'The chat template of {model} refuses these messages: {problem}.',
    'Send them as the template wants them, or render the prompt yourself and call completions.',
  ),
  NO_CHAT_TEMPLATE: user(
    400,
    'The model {model} has no chat template.',
    'Render the prompt yourself and call completions.',
  ),
  NO_TOOL_TEMPLATE: user(
    400,
    'The chat template of {model} has no place for tools.',
    'Describe them in a message, or use a model whose template has one.',
  ),
  CONTEXT_TOO_LONG: user(
    400,
    'The prompt has {prompt} tokens and {asked} more are asked for; the context of {model} has {context}.',
    'Send a shorter prompt, or ask for fewer tokens.',
  ),

  // Limits of a tenant
  ADAPTERS_FULL: user(
    403,
    'This tenant has {count} runs that are not unloaded, and may have {limit}.',
    'End the sessions of those that are done (ServiceClient.close()), or call unload_model; `tinker run list` shows them.',
  ),
  STORAGE_FULL: user(
    403,
    'The checkpoints and samplers of this tenant take {used} bytes; with {bytes} more they would take over {limit}.',
    'Delete checkpoints or give them a time to live (`tinker checkpoint`), or end sessions that sample no more.',
  ),

  // Checkpoints
  INVALID_CHECKPOINT_NAME: user(
    400,
    'The checkpoint name {name} is not possible.',
    'Use 1 to 128 letters, digits, ".", "_" and "-", the first one no "." or "-".',
  ),
  INVALID_TINKER_PATH: user(
    400,
    'The path {path} is not a checkpoint path.',
    'Use tinker://RUN/KIND/NAME with the kind weights, sampler_weights or external_weights.',
  ),
  CHECKPOINT_EXISTS: user(400, 'The checkpoint {path} is there already.', 'Use another name, or overwrite=true.'),
  CHECKPOINT_NOT_FOUND: user(404, 'There is no checkpoint {path}.', 'Save it first, or check its run, kind and name.'),
  WEIGHTS_TOKEN_REFUSED: user(
    403,
    'The weights access token does not open {path}: it is for another checkpoint, its time is over, or one of them is gone.',
    'Ask the owner for a new one.',
  ),
  INVALID_TOKEN_LIFE: user(
    400,
    'ttl_seconds = {ttl} is not possible for a token.',
    'It must be a whole number of seconds from {min} to {max}.',
  ),
  DOWNLOAD_REFUSED: user(
    403,
    'The address of this download is not valid, or its time is over.',
    'Ask for a new one with external_weights_urls.',
  ),
  DOWNLOAD_GONE: user(404, 'The checkpoint of this download is gone.', 'Save it anew.'),
  RANGE_NOT_SATISFIABLE: user(416, 'The file ends before the range begins.', 'It has {bytes} bytes.'),
  UNKNOWN_ORIGIN: user(
    400,
    'The address that this server was reached by cannot be read from its headers: {host}.',
    'Send a Host header; check what the proxy sends as X-Forwarded-Host, -Proto and -Prefix.',
  ),
  CHECKPOINT_MISMATCH: user(400, 'The checkpoint {path} does not fit: {reason}.', 'Use one that was made for it.'),
  CHECKPOINT_UNREADABLE: server(
    500,
    'The files of checkpoint {path} cannot be used.',
    'Save it again or use another one; the log of the server says what is wrong with them.',
  ),
  ADAPTER_REFUSED: user(
    400,
    'The adapter cannot be used: {problem}.',
    'Send a tar archive of a folder that PEFT saved, with plain LoRA for this base model.',
  ),
  ADAPTER_TASK_RUNNING: server(
    429,
    'An import or a merge of yours is still running.',
    'Send the request again when it has ended: one at a time is done for each tenant.',
  ),
  NO_OPTIMIZER_STATE: user(
    400,
    'The checkpoint {path} has no optimizer state.',
    'Load its weights only, or a checkpoint under weights/.',
  ),
  NAME_OR_SESSION: user(
    400,
    'A save for sampling has either a path (a name) or a sampling_session_seq_id.',
    'Send exactly one of the two.',
  ),
  INFLIGHT_NAME: user(
    400,
    'The save {name} has a name and kind = inflight, but what has a name never changes.',
    'Leave the name out (sampling_session_seq_id), or use kind = snapshot.',
  ),
  // Objects of Twinkle's processor routes, and data sets by name
  UNKNOWN_PROCESSOR: user(
    404,
    'There is no object {id}.',
    'Create it: objects end half an hour after the session that made them.',
  ),
  ITERATOR_EXHAUSTED: user(410, 'The iteration of {id} is over.', 'Begin it anew with __iter__.'),
  PROCESSORS_FULL: user(
    403,
    'This tenant has {count} objects (data sets, loaders and the like), and may have {limit}.',
    'End the sessions that made those that are done; half an hour later they are gone.',
  ),
  PROCESSOR_MEMORY: user(
    413,
    'The data sets of this tenant would take more than {limit} bytes of memory.',
    'Take a smaller data_slice, drop columns with remove_columns, or use a LazyDataset or an IterableDataset.',
  ),
  PROCESSORS_BUSY: server(
    429,
    'The data sets that are being worked on take all of the memory that the server has for them ({limit} bytes).',
    'Send the request again after a second.',
  ),
  OTHER_TEMPLATE_MODEL: user(
    400,
    'The template {template} is of the model {named}, but {model} is what reads its tokens.',
    'Leave model_id out, or use the name of the same model.',
  ),
  NO_TEMPLATE_MODEL: user(
    400,
    'The template {template} needs the name of a model, whose tokenizer and chat template it uses.',
    'Send model_id with the name of a model that is served here.',
  ),
  UNKNOWN_DATASET: user(
    404,
    'There is no data set {id} here: data sets are not fetched from hubs.',
    'Send its rows along (DatasetMeta data), or have the operator put a file of that name ({formats}) into data_dir.',
  ),
  INVALID_DATASET_PATH: user(
    400,
    'The name {path} is not possible for data.',
    'Use letters, digits, ".", "_" and "-", in up to 8 parts with "/" between them, none of which begins with ".".',
  ),
  DATASET_TOO_LARGE: user(
    413,
    'The data set {id} takes more than {limit} bytes, which is the most for its format.',
    'Use JSON lines, or several files.',
  ),
  SAVED_DATA_FULL: user(
    413,
    'The files that this tenant saved take {used} bytes; together with this one they would take over {limit}.',
    'Save under a name that is there already: its file is replaced.',
  ),
  INVALID_TTL: user(
    400,
    'ttl_seconds = {ttl} is not possible.',
    'It must be a whole number of seconds from {min} to {max}.',
  ),

  ...TWINKLE_ERRORS,
} as const satisfies Record<string, ErrorKind>

export type ErrorCode = keyof typeof ERRORS

/** The names in braces of a template. `{list~word}` is a list of what there is, headed by the entry nearest to the word. */
type Placeholder<T extends string> = T extends `${string}{${infer Name}}${infer Rest}`
  ? Words<Name> | Placeholder<Rest>
  : never
type Words<T extends string> = T extends `${infer List}~${infer Word}` ? List | Word : T
type PlaceholderOf<C extends ErrorCode> = Placeholder<(typeof ERRORS)[C]['message'] | (typeof ERRORS)[C]['next']>
export type ErrorParameters<C extends ErrorCode> = Readonly<
  Record<PlaceholderOf<C>, string | number | readonly string[]>
>

/** An error that may be shown to the caller as it is: `message` is what the wire shows, the next step included. */
export class ServiceError extends Error {
  /** Of `ERRORS`, or of `ENGINE_ERRORS` or `CATALOGUE_ERRORS` where those said it. */
  readonly code: string
  readonly status: number
  readonly category: ErrorCategory
  /** What to do about it, in sentences; empty where the message says it all. */
  readonly next: string
  /** The parameters, for logs and for callers in the same process. */
  readonly details: Readonly<Record<string, unknown>>

  constructor(
    kind: { code: string; status: number; category: ErrorCategory; message: string; next: string },
    options: { details?: Readonly<Record<string, unknown>>; cause?: unknown } = {},
  ) {
    const message = kind.next === '' ? kind.message : `${kind.message} ${kind.next}`
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'ServiceError'
    this.code = kind.code
    this.status = kind.status
    this.category = kind.category
    this.next = kind.next
    this.details = options.details ?? {}
  }
}

/**
 * An error of the catalogue. Whatever a client sent is cut to a readable length.
 *
 * @example throw serviceError('INVALID_RANK', { rank: 0, max: 128 })
 */
export function serviceError<C extends ErrorCode>(
  code: C,
  ...[parameters, options]: PlaceholderOf<C> extends never
    ? [parameters?: Record<never, never>, options?: { cause?: unknown }]
    : [parameters: ErrorParameters<C>, options?: { cause?: unknown }]
): ServiceError {
  const { status, category, message, next }: ErrorKind = ERRORS[code]
  const details: Readonly<Record<string, unknown>> = parameters ?? {}
  return new ServiceError(
    { code, status, category, message: fill(message, details), next: fill(next, details) },
    { details, ...options },
  )
}

/** What was thrown, as an error that may be shown. An unforeseen one tells the caller nothing; its cause is for the log. */
export function toServiceError(thrown: unknown): ServiceError {
  if (thrown instanceof ServiceError) return thrown
  if (thrown instanceof EngineError) return fromEngine(thrown)
  if (thrown instanceof CatalogueError) return fromCatalogue(thrown)
  const problem = storageProblem(thrown)
  return problem === null
    ? serviceError('INTERNAL', {}, { cause: thrown })
    : serviceError('STORAGE_FAILS', { problem }, { cause: thrown })
}

/** False for failures that clients retry: the same request comes again, under the same number. */
export function isFinal(thrown: unknown): boolean {
  const { status } = toServiceError(thrown)
  return status < 500 && status !== 429 && status !== 408
}

/** A failure that was written down, as the error that it was when it was thrown. */
export function failedWith(failure: EngineFailure): ServiceError {
  const known: ErrorKind | undefined = (ERRORS as Readonly<Record<string, ErrorKind>>)[failure.code]
  return new ServiceError({ ...failure, status: known?.status ?? engineStatus(failure), next: '' })
}

/** A failed future, as every SDK reads it. */
export function failureBody(failure: EngineFailure): { error: string; category: ErrorCategory; code: string } {
  return { error: failure.message, category: failure.category, code: failure.code }
}

/** `Did you mean "qwen3"? There is: "llama", "qwen3".` */
function choices(given: string, known: readonly string[]): string {
  if (known.length === 0) return 'There is none.'
  const [near] = nearest(given.slice(0, MAX_SHOWN), known, 1)
  const shown = known.slice(0, MAX_CHOICES).map((name) => `"${name}"`)
  const more = known.length > MAX_CHOICES ? ` and ${known.length - MAX_CHOICES} more` : ''
  return `${near === undefined ? '' : `Did you mean "${near}"? `}There is: ${shown.join(', ')}${more}.`
}

const MAX_CHOICES = 12
const MAX_SHOWN = 200

/**
 * Of what a user did wrong, engines name the thing and the way out in their own sentence: nothing is added. Their own faults
 * may name paths, processes and other tenants: those go to the log, and the caller gets what the code means.
 */
function fromEngine(error: EngineError): ServiceError {
  const { code, category } = error
  const status = engineStatus(error)
  if (category === 'user') return new ServiceError({ code, status, category, message: error.message, next: '' })
  const meaning = ENGINE_ERRORS[code as EngineErrorCode]?.meaning ?? 'a fault of the engine'
  const message = `The engine could not do it (${code}): ${meaning}.`
  const next = status === 503 ? 'Submit it again.' : 'The log of the server has the details.'
  return new ServiceError({ code, status, category, message, next }, { cause: error })
}

function fromCatalogue({ code, message, next }: CatalogueError): ServiceError {
  return new ServiceError({ code, status: 400, category: 'user', message, next })
}

/** The status that an engine's failure gets on the wire. What is worth sending again is a 503. */
export function engineStatus({ code, category }: { code: string; category: ErrorCategory }): number {
  if (RETRYABLE.has(code)) return 503
  return category === 'user' ? 400 : 500
}

const RETRYABLE: ReadonlySet<string> = new Set<EngineErrorCode>(['ENGINE_CLOSED', 'ENGINE_LOST', 'STALE_EPOCH'])

function fill(template: string, values: Readonly<Record<string, unknown>>): string {
  return template.replace(/\{(\w+)(?:~(\w+))?\}/g, (_, name: string, word: string | undefined) =>
    word === undefined ? show(values[name]) : choices(String(values[word]), values[name] as readonly string[]),
  )
}

function show(value: unknown): string {
  const text = Array.isArray(value) ? value.join(', ') : String(value)
  return text.length <= MAX_SHOWN ? text : `${text.slice(0, MAX_SHOWN)}...`
}
