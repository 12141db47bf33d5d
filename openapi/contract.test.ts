// What the contract promises to a server and to its callers: every operation of the protocol, a router's table that routes,
// validators that take what real SDKs send and refuse what they should. goldens/exchanges.json was recorded with SDK 0.38.0.

import { readFileSync } from 'node:fs'
import { Router } from '@koa/router'
import { describe, expect, expectTypeOf, it } from 'vitest'
import {
  type OperationId,
  operations,
  type PathParams,
  type QueryParams,
  type RequestBody,
  type RoutedOperationId,
  type Schemas,
  type SuccessBody,
} from '../src/generated/operations.ts'
import { bodyValidators, pathValidators, queryValidators } from '../src/generated/validators.ts'
import { explainInvalid } from '../src/server/http/explain-invalid.ts'
import { problemWithAnswer } from './answers.ts'

/** All calls that an SDK from 0.3.0 to 0.38.0 makes. */
const protocol = `
post client/config, post client/dynamic_config, post auth/token, get healthz, get get_server_capabilities,
post create_session, post session_heartbeat, post sessions/{session_id}/finish, post create_sampling_session,
post join_sampling_session, post create_model, post get_info, post unload_model, post forward_backward, post forward,
post create_custom_loss, post optim_step, post save_weights, post save_weights_for_sampler, post save_weights_external,
post load_weights, post copy_weights, post asample, post retrieve_future, post retrieve_futures, post cancel_future,
post telemetry, post weights_info, get training_runs, get training_runs/{run}, get training_runs/{run}/checkpoints,
get models/{run}/checkpoints,
delete training_runs/{run}/checkpoints/{kind}/{name}, get training_runs/{run}/checkpoints/{kind}/{name}/archive,
get training_runs/{run}/checkpoints/{kind}/{name}/external_weights_urls,
post training_runs/{run}/checkpoints/{kind}/{name}/publish, delete training_runs/{run}/checkpoints/{kind}/{name}/publish,
put training_runs/{run}/checkpoints/{kind}/{name}/ttl, get checkpoints, get sessions, get sessions/{session_id},
post sessions/search, put sessions/{session_id}/project, get sessions/{session_id}/trace_export, get samplers/{sampler_id},
get audit, get billing/usage/events, get billing/usage/checkpoints/current, get auth/apikey/me, delete auth/apikey/me`
  .split(',')
  .map((call) => call.trim())

interface Exchange {
  readonly method: string
  readonly path: string
  readonly status: number
  readonly body?: unknown
  readonly answer?: unknown
}

const exchanges: readonly Exchange[] = JSON.parse(
  readFileSync(new URL('goldens/exchanges.json', import.meta.url), 'utf8'),
)
const ids = Object.keys(operations) as OperationId[]
const router = new Router()
for (const id of ids) {
  const { koaPath, aliases, method } = operations[id]
  for (const path of [koaPath, ...aliases]) router.register(path, [method], () => {}, { name: id })
}

/** The operation that a router would choose. */
function route(method: string, path: string): OperationId | undefined {
  return router.match(path.split('?')[0]!, method.toUpperCase()).pathAndMethod[0]?.name as OperationId | undefined
}

function problemWithBody(id: OperationId, body: unknown): string | undefined {
  const validate = bodyValidators[id]
  if (validate === undefined) return body === undefined ? undefined : `${id} takes no JSON body`
  return validate(body) ? undefined : explainInvalid(validate.errors, body)
}

describe('the table of operations', () => {
  it('has every call of the protocol, and of its own only what the protocol leaves open', () => {
    const calls = ids.map((id) => operations[id]).filter(({ document }) => document === 'tinker')
    const named = calls.map(({ method, path }) => `${method} ${path.replace('/api/v1/', '')}`)
    const own = ['post training_runs/{run}/checkpoints/{kind}/{name}/access_token']
    expect(named.sort()).toEqual([...protocol, ...own].sort())
  })

  it('gives paths that the router takes and tells apart', () => {
    expect(route('post', '/api/v1/sessions/sess-1/finish')).toBe('finishSession')
    expect(route('get', '/api/v1/samplers/sess-1:sample:3')).toBe('getSampler')
    expect(route('post', '/api/v1/sessions/search')).toBe('searchSessions')
    expect(route('delete', '/api/v1/training_runs/s:train:0/checkpoints/weights/a')).toBe('deleteCheckpoint')
    expect(route('put', '/api/v1/training_runs/s:train:0/checkpoints/weights/a/ttl')).toBe('setCheckpointTtl')
  })

  it('lets a model name and a file span several segments', () => {
    expect(route('get', '/api/models/org/tiny')).toBe('hubModel')
    expect(route('get', '/tiny/resolve/main/tokenizer.json')).toBe('hubFile')
    expect(route('get', '/org/tiny/resolve/main/onnx/config.json')).toBe('hubFile')
  })

  it('needs a key for everything but health', () => {
    const open = ids.filter((id) => operations[id].document === 'tinker' && !operations[id].needsKey)
    expect(open).toEqual(['healthz'])
  })

  it('names both encodings where protobuf is spoken', () => {
    const binary = 'application/x-protobuf'
    expect(operations.forwardBackward.requestMedia).toEqual([binary, 'application/json'])
    expect(operations.retrieveFuture.responseMedia).toEqual(['application/json', binary])
  })

  it('names the shapes of success and errors', () => {
    expect(operations.asample.success).toEqual({ status: 200, schema: 'SubmittedSample' })
    expect(operations.publishCheckpoint.success).toEqual({ status: 204, schema: null })
    expect(operations.retrieveFuture.errors).toMatchObject({
      408: 'FutureStillPending',
      410: 'Error',
      default: 'Error',
    })
  })
})

describe('what SDK 0.38.0 sends and accepts', () => {
  it.each(exchanges)('$method $path', ({ method, path, status, body, answer }) => {
    const id = route(method, path)
    expect(id).toBeDefined()
    // What was not recorded as JSON went over the wire as protobuf: see proto.test.ts.
    if (body !== undefined) expect(problemWithBody(id!, body)).toBeUndefined()
    if (status === 200 && answer !== undefined) expect(problemWithAnswer(id!, status, answer)).toBeUndefined()
  })

  it('accepts the query parameters of every recorded call', () => {
    for (const { method, path } of exchanges) {
      const validate = queryValidators[route(method, path)!]
      const query = Object.fromEntries(new URLSearchParams(path.split('?')[1]))
      expect(validate?.(query) ?? true, path).toBe(true)
    }
  })
})

describe('validators', () => {
  const prompt = { chunks: [{ tokens: [1, 2] }] }

  it('take the sparse bodies of SDK 0.3.0 to 0.16.1', () => {
    const data = [
      { model_input: { chunks: [{ tokens: [1] }] }, loss_fn_inputs: { weights: { data: [1], dtype: 'float32' } } },
    ]
    expect(problemWithBody('asample', { prompt, sampling_params: {} })).toBeUndefined()
    expect(problemWithBody('createSession', {})).toBeUndefined()
    expect(problemWithBody('loadWeights', { model_id: 'm', seq_id: 1, path: 'tinker://r/weights/a' })).toBeUndefined()
    const input = { data, loss_fn: 'cross_entropy' }
    expect(problemWithBody('forwardBackward', { model_id: 'm', forward_backward_input: input })).toBeUndefined()
    expect(problemWithBody('forward', { model_id: 'm', seq_id: 1, forward_input: input })).toBeUndefined()
  })

  it('take null for absent and ignore fields that they do not know', () => {
    const nulls = { num_samples: null, seq_id: null, prompt_logprobs: null, target_prompt_logprobs: null, new_field: 1 }
    const params = { max_tokens: null, seed: null, stop: null, temperature: null, top_k: null, top_p: null }
    expect(problemWithBody('asample', { prompt, sampling_params: params, ...nulls })).toBeUndefined()
  })

  it.each([
    ['189992462000000000', true],
    [189992462, true],
    ['-9223372036854775808', true],
    ['18446744073709551615', true],
    [1.5, false],
    ['1e9', false],
    ['', false],
    [true, false],
  ])('64-bit integer %j: %j', (seq_id, isTaken) => {
    expect(problemWithBody('asample', { prompt, sampling_params: {}, seq_id }) === undefined).toBe(isTaken)
  })

  it.each([[['\n']], ['\n'], [[]], [[1, 2]], [null]])('stop may be %j', (stop) => {
    expect(problemWithBody('asample', { prompt, sampling_params: { stop } })).toBeUndefined()
  })

  it.each([
    ['createModel', 'text', 'the body must be an object, but is "text"'],
    [
      'createModel',
      { session_id: 's', model_seq_id: -1, base_model: 'b' },
      'model_seq_id must be at least 0, but is -1',
    ],
    ['asample', { sampling_params: {} }, "the body must have the field 'prompt'"],
    ['asample', { prompt, sampling_params: { top_p: 0 } }, 'sampling_params.top_p must be more than 0, but is 0'],
    ['asample', { prompt, sampling_params: {}, num_samples: 0 }, 'num_samples must be at least 1, but is 0'],
    ['optimStep', { model_id: 'm', adam_params: { beta1: 1 } }, 'adam_params.beta1 must be less than 1, but is 1'],
    ['saveWeights', { model_id: 'm', path: '' }, 'path must not be empty, but is ""'],
    ['retrieveFuture', { request_id: 7 }, 'request_id must be text, but is 7'],
    ['saveWeightsForSampler', { model_id: 'm', kind: 'x' }, 'kind must be "snapshot" or "inflight", but is "x"'],
  ] as const)('%s refuses %j', (id, body, problem) => {
    expect(problemWithBody(id, body)).toBe(problem)
  })

  it('name the element of a tensor that is no number', () => {
    const weights = { data: [0, null], dtype: 'float32' }
    const data = [{ model_input: prompt, loss_fn_inputs: { weights } }]
    expect(problemWithBody('forward', { model_id: 'm', forward_input: { data, loss_fn: 'ppo' } })).toBe(
      'forward_input.data[0].loss_fn_inputs.weights.data[1] must be a number, but is null',
    )
  })

  it('turn the text of a query into numbers and fill in defaults', () => {
    const query: Record<string, unknown> = { limit: '5' }
    expect(queryValidators.listTrainingRuns!(query)).toBe(true)
    expect(query).toEqual({ limit: 5, offset: 0, access_scope: 'owned' })
    expect(queryValidators.listTrainingRuns!({ limit: '-1' })).toBe(false)
  })

  it('know the kinds of checkpoints in a path', () => {
    expect(pathValidators.deleteCheckpoint!({ run: 'r', kind: 'weights', name: 'a' })).toBe(true)
    expect(pathValidators.deleteCheckpoint!({ run: 'r', kind: 'adapters', name: 'a' })).toBe(false)
  })
})

describe('problemWithAnswer', () => {
  it('finds what does not fit', () => {
    expect(problemWithAnswer('createSession', 200, { session_id: 'a:b' })).toContain('session_id must match')
    expect(problemWithAnswer('asample', 200, { request_id: 'r' })).toContain(
      "must have the field 'sample_sequence_ids'",
    )
    expect(problemWithAnswer('asample', 400, { error: 'x' })).toContain("must have the field 'detail'")
    expect(problemWithAnswer('asample', 418, { detail: 'x', code: 'TEAPOT' })).toBeUndefined()
    expect(problemWithAnswer('publishCheckpoint', 204, {})).toContain('no JSON body')
    expect(problemWithAnswer('retrieveFuture', 408, { request_id: 'r', queue_state: 'paused' })).toContain(
      'queue_state',
    )
  })
})

describe('types', () => {
  it('make a missing or misspelt handler an error of the compiler', () => {
    type Handlers = Record<RoutedOperationId<'tinker'>, () => void>
    const [handler] = [() => {}]
    // @ts-expect-error: all other handlers are missing
    const missing: Handlers = { createSession: handler }
    expectTypeOf(missing).toEqualTypeOf<Handlers>()
    expectTypeOf<'createCustomLoss'>().toExtend<RoutedOperationId<'tinker'>>()
    expectTypeOf<'createSession'>().toExtend<RoutedOperationId<'tinker'>>()
    expectTypeOf<'metrics'>().not.toExtend<RoutedOperationId<'tinker'>>()
    expectTypeOf<'metrics'>().toExtend<RoutedOperationId<'operator'>>()
  })

  it('give the parts of an operation by its id', () => {
    expectTypeOf<RequestBody<'createModel'>>().toEqualTypeOf<Schemas['CreateModelRequest']>()
    expectTypeOf<RequestBody<'forwardBackward'>>().toEqualTypeOf<Schemas['ForwardBackwardRequest']>()
    expectTypeOf<RequestBody<'healthz'>>().toEqualTypeOf<undefined>()
    expectTypeOf<SuccessBody<'asample'>>().toEqualTypeOf<Schemas['SubmittedSample']>()
    expectTypeOf<SuccessBody<'publishCheckpoint'>>().toEqualTypeOf<undefined>()
    expectTypeOf<SuccessBody<'metrics'>>().toEqualTypeOf<undefined>()
    expectTypeOf<PathParams<'getSampler'>>().toEqualTypeOf<{ sampler_id: string }>()
    expectTypeOf<PathParams<'hubFile'>>().toExtend<{ name: string; revision: string; file: string }>()
    expectTypeOf<QueryParams<'listTrainingRuns'>['limit']>().toEqualTypeOf<number>()
    expectTypeOf<QueryParams<'listTrainingRuns'>['project_id']>().toEqualTypeOf<string | undefined>()
    expectTypeOf<Schemas['Int64']>().toEqualTypeOf<number | string>()
  })
})
