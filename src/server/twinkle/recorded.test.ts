// What Twinkle's own clients were recorded to send to management and model routes (openapi/goldens/twinkle), sent once more in
// its order. The recorded answers were a stub's; ours are held against what each client requires of them.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Json, TestServer } from '../testing/test-server.ts'

interface Exchange {
  readonly request: { readonly method: string; readonly path: string; readonly body: Json; readonly headers: Json }
  readonly response: { readonly status: number; readonly body: Json }
}

const CHECKPOINT = join(import.meta.dirname, '../../backends/transformers/goldens/llama-tied/checkpoint')
const GOLDENS = new URL('../../../openapi/goldens/twinkle/', import.meta.url)
const recorded = (name: string): Exchange[] =>
  JSON.parse(readFileSync(new URL(`${name}.json`, GOLDENS), 'utf8')).exchanges

const server = new TestServer({ models: [{ name: 'tiny/tiny-llm', path: CHECKPOINT }] })
beforeAll(() => server.start())
afterAll(() => server.stop())

/**
 * Where we answer otherwise than the stub, which took everything: there are no patches and no uploads; a DPO metric was added,
 * and one row is no pair; what is missing is not found, where Twinkle's own server fails.
 */
function expected(op: string, { request, response }: Exchange): number {
  if (op === 'apply_patch' || op === 'upload_to_hub') return 400
  if (op.startsWith('upload_status')) return 404
  if (op === 'load' && request.body.name === 'missing') return 404
  return response.status
}

/** What the newest client reads of an answer; it raises where that is missing or of another type. */
const NEWEST: Readonly<Record<string, (answer: Json) => void>> = {
  create: (answer) => expect(answer.status).toBe('ok'),
  add_adapter_to_model: (answer) => expect(answer.adapter_name).toBeTypeOf('string'),
  forward: (answer) => expect(answer.result.logps[0]).toHaveLength(4),
  forward_only: (answer) => expect(answer.result.logps[0]).toHaveLength(4),
  forward_backward: (answer) => expect(answer.result.loss).toBeTypeOf('number'),
  calculate_loss: (answer) => expect(answer.result).toBeTypeOf('number'),
  clip_grad_norm: (answer) => expect(answer.result).toBeTypeOf('string'),
  get_train_configs: (answer) => expect(answer.result).toBeTypeOf('string'),
  calculate_metric: (answer) => expect(answer.result).toBeTypeOf('object'),
  resume_from_checkpoint: (answer) => expect(answer.result.gradient_accumulation_steps).toBe(2),
}
const NEWEST_SAVE = (answer: Json) => expect(answer.twinkle_path).toMatch(/^twinkle:\/\/.*\/weights\/step-1$/)
const NOTHING = [
  ...['set_template', 'set_processor', 'set_loss', 'set_optimizer', 'set_lr_scheduler', 'add_metric', 'backward'],
  ...['step', 'zero_grad', 'lr_step', 'clip_grad_and_step', 'load'],
]

/** Sends what was recorded under the ids of this server, and with a row more where a metric wants pairs. */
async function send({ request }: Exchange, given: Readonly<Record<string, string>>, headers: Record<string, string>) {
  const renamed = (text: string) => Object.entries(given).reduce((t, [from, to]) => t.replaceAll(from, to), text)
  const body = request.body === null ? undefined : JSON.parse(renamed(JSON.stringify(request.body)))
  if (Array.isArray(body?.inputs)) body.inputs.push(body.inputs[0])
  if (body?.ref_outputs) body.ref_outputs.logps.push(body.ref_outputs.logps[0])
  const answer = await fetch(`${server.url}${renamed(request.path)}`, {
    method: request.method,
    headers: { ...headers, ...(body && { 'Content-Type': 'application/json' }) },
    ...(body && { body: JSON.stringify(body) }),
  })
  return { status: answer.status, json: (await answer.json()) as Json }
}

const operation = ({ request }: Exchange) =>
  /^(?:\/api\/v1\/model\/tiny\/tiny-llm\/twinkle|\/models\/tiny\/tiny-llm)\/(.+)$/.exec(request.path)?.[1] ?? ''
/** Numbers from files need an engine that writes some: the conformance suite has one. */
const needsRealEngine = (exchange: Exchange) => operation(exchange) === 'get_state_dict'

describe('the recorded client 0.5.1', () => {
  it('finds each of its calls answered', { timeout: 60_000 }, async () => {
    const management = recorded('native-0.5.1-management')
    const model = recorded('native-0.5.1-model').filter((exchange) => !needsRealEngine(exchange))
    const recordedSession = management[0]?.response.body.session_id as string
    const headers: Record<string, string> = { ...management[0]?.request.headers }
    const opened = await send(management[0] as Exchange, {}, headers)
    const session = opened.json.session_id as string
    const ids = { [recordedSession]: session }
    const after = model.findIndex((exchange) => operation(exchange) === 'resume_from_checkpoint') + 1
    const order = [...model.slice(0, after), ...management.slice(1, -2), ...model.slice(after), ...management.slice(-2)]
    for (const exchange of order) {
      const { status, json } = await send(exchange, ids, { ...headers, 'X-Twinkle-Session-Id': session })
      const op = operation(exchange)
      const at = `${exchange.request.path} ${JSON.stringify(json)}`
      expect(status, at).toBe(expected(op, exchange))
      if (status !== 200) expect(json.detail, at).toBeTypeOf('string')
      else if (op === 'save') NEWEST_SAVE(json)
      else if (NOTHING.includes(op)) expect(json, at).toBeNull()
      else if (op) (NEWEST[op] as (answer: Json) => void)(json)
    }
  })
})

describe('the recorded client 0.0.1', () => {
  it('finds each of its calls answered, in the form of its time', { timeout: 60_000 }, async () => {
    const exchanges = recorded('native-0.0.1-seed-era').filter(
      (exchange) => !needsRealEngine(exchange) && /^\/(server|models)\//.test(exchange.request.path),
    )
    const headers: Record<string, string> = { ...exchanges[0]?.request.headers }
    for (const exchange of exchanges) {
      const op = operation(exchange)
      const { status, json } = await send(exchange, {}, headers)
      const at = `${exchange.request.path} ${JSON.stringify(json)}`
      expect(status, at).toBe(expected(op, exchange))
      if (status !== 200) expect(json.detail, at).toBeTypeOf('string')
      else if (op === 'save') expect(json.result, at).toMatch(/^twinkle:\/\/.*\/weights\/step-1$/)
      else if (NOTHING.includes(op)) expect(json, at).toEqual({ result: null })
      else if (op && op !== 'heartbeat') (NEWEST[op] as (answer: Json) => void)(json)
    }
  })
})
