// Errors of the one catalogue in the form that OpenAI's clients read. They choose the exception by the status; people ask for
// `code`: where theirs has a name that they know, that name is given, else the catalogue's.

import type { ServiceError } from '../errors.ts'

/** As OpenAI calls them. */
const KNOWN_CODES: Readonly<Record<string, string>> = {
  MISSING_KEY: 'invalid_api_key',
  WRONG_KEY: 'invalid_api_key',
  KEY_REVOKED: 'invalid_api_key',
  KEY_EXPIRED: 'invalid_api_key',
  UNKNOWN_MODEL: 'model_not_found',
  CONTEXT_TOO_LONG: 'context_length_exceeded',
}

export interface OpenAiErrorBody {
  readonly error: {
    readonly message: string
    readonly type: string
    readonly param: string | null
    readonly code: string
  }
}

export function openAiError(error: ServiceError): OpenAiErrorBody {
  const code = KNOWN_CODES[error.code] ?? error.code
  return { error: { message: error.message, type: typeOf(error), param: paramOf(error), code } }
}

function typeOf({ status, code }: ServiceError): string {
  // Twinkle's own clients look for it here.
  if (code === 'UNKNOWN_MODEL') return 'model_not_found'
  if (status === 401) return 'authentication_error'
  if (status === 403) return 'permission_error'
  if (status === 429) return 'rate_limit_error'
  return status >= 500 ? 'server_error' : 'invalid_request_error'
}

/** Of errors that name no field, which field they are about. */
const PARAMS: Readonly<Record<string, string>> = {
  UNKNOWN_MODEL: 'model',
  CHECKPOINT_NOT_FOUND: 'model',
  RUN_NOT_SAVED: 'model',
  INVALID_TINKER_PATH: 'model',
  CHECKPOINT_MISMATCH: 'adapter_uri',
  NO_CHAT_TEMPLATE: 'model',
  NO_TOOL_TEMPLATE: 'tools',
  TEMPLATE_REFUSED: 'messages',
  EMPTY_INPUT: 'prompt',
  INVALID_TOKENS: 'prompt',
}

/** The field that an error names: in its parameters, or in the sentence of a validator. */
function paramOf({ code, details }: ServiceError): string | null {
  const { field, problem } = details
  if (typeof field === 'string') return field
  if (PARAMS[code] !== undefined) return PARAMS[code]
  const [, named, missing] =
    /^(?:the body must have the field '(\w+)'|([\w.[\]]+) must )/.exec(String(problem ?? '')) ?? []
  return named ?? missing ?? null
}
