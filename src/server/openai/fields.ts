// Which fields of OpenAI's requests mean something here, and which may only say what is so anyway. All others are refused by
// name: a client that was not told would take an answer without them for one with them.

import type { Schemas } from '../../generated/operations.ts'
import { serviceError } from '../errors.ts'

/** Of a field that is not served: the values that ask for nothing. */
interface Neutral {
  readonly isNeutral: (value: unknown) => boolean
  /** In words. */
  readonly expected: string
}
type Rule = 'served' | Neutral
type Rules<Body> = Readonly<Record<keyof Body & string, 'served'>> & Readonly<Record<string, Rule>>

const only = (...values: readonly unknown[]): Neutral => ({
  isNeutral: (value) => values.includes(value),
  expected: `${values.map((value) => JSON.stringify(value)).join(' or ')}, or left out`,
})
/** Kept for nothing and changing nothing: notes of the caller's. */
const anything: Neutral = { isNeutral: () => true, expected: 'anything' }

const PENALTIES = {
  frequency_penalty: only(0),
  presence_penalty: only(0),
  logit_bias: {
    isNeutral: (value) => typeof value === 'object' && Object.keys(value ?? {}).length === 0,
    expected: 'an empty object, or left out',
  },
} as const satisfies Record<string, Neutral>

const CHAT: Rules<Schemas['ChatCompletionRequest']> = {
  model: 'served',
  adapter_uri: 'served',
  messages: 'served',
  tools: 'served',
  tool_choice: 'served',
  chat_template_kwargs: 'served',
  n: 'served',
  max_completion_tokens: 'served',
  max_tokens: 'served',
  temperature: 'served',
  top_p: 'served',
  top_k: 'served',
  seed: 'served',
  stop: 'served',
  logprobs: 'served',
  top_logprobs: 'served',
  stream: 'served',
  stream_options: 'served',
  ...PENALTIES,
  response_format: {
    isNeutral: (value) => (value as { type?: unknown }).type === 'text',
    expected: '{"type":"text"}, or left out',
  },
  modalities: {
    isNeutral: (value) => Array.isArray(value) && value.every((one) => one === 'text'),
    expected: '["text"], or left out',
  },
  parallel_tool_calls: only(true),
  service_tier: only('auto', 'default'),
  store: only(false),
  verbosity: only('medium'),
  metadata: anything,
  user: anything,
  safety_identifier: anything,
  prompt_cache_key: anything,
}

const COMPLETION: Rules<Schemas['CompletionRequest']> = {
  model: 'served',
  adapter_uri: 'served',
  prompt: 'served',
  n: 'served',
  max_tokens: 'served',
  temperature: 'served',
  top_p: 'served',
  top_k: 'served',
  seed: 'served',
  stop: 'served',
  logprobs: 'served',
  echo: 'served',
  stream: 'served',
  stream_options: 'served',
  ...PENALTIES,
  best_of: only(1),
  suffix: only(''),
  user: anything,
}

const STREAM_OPTIONS: Readonly<Record<string, Rule>> = {
  include_usage: 'served',
  include_obfuscation: only(false),
}

/** Throws UNSERVED_FIELD and UNSERVED_VALUE for the first field of a chat completion that is not served. */
export function checkChatFields(body: Schemas['ChatCompletionRequest']): void {
  checkFields('chat/completions', '', body, CHAT)
  checkStreamOptions(body)
}

/** The same of a completion. */
export function checkCompletionFields(body: Schemas['CompletionRequest']): void {
  checkFields('completions', '', body, COMPLETION)
  checkStreamOptions(body)
}

type StreamFields = Pick<Schemas['CompletionRequest'], 'stream' | 'stream_options'>

function checkStreamOptions({ stream, stream_options: options }: StreamFields): void {
  if (options == null) return
  if (!stream) throw unserved('stream_options', options, 'given only with stream = true')
  checkFields('stream_options', 'stream_options.', options, STREAM_OPTIONS)
}

function checkFields(operation: string, prefix: string, body: object, rules: Readonly<Record<string, Rule>>): void {
  for (const [name, value] of Object.entries(body)) {
    const rule = Object.hasOwn(rules, name) ? rules[name] : undefined
    if (value === null || rule === 'served') continue
    const field = `${prefix}${name}`
    if (rule === undefined) throw serviceError('UNSERVED_FIELD', { field, operation, fields: served(rules) })
    if (!rule.isNeutral(value)) throw unserved(field, value, rule.expected)
  }
}

const served = (rules: Readonly<Record<string, Rule>>): string[] =>
  Object.keys(rules).filter((name) => rules[name] === 'served')

/** Values that may be asked for in OpenAI's protocol and cannot be honoured here. */
export function unserved(field: string, value: unknown, expected: string) {
  return serviceError('UNSERVED_VALUE', { field, value: JSON.stringify(value), expected })
}
