// The document of Twinkle's native protocol against what its clients sent: every recorded request finds its operation by the
// path of its generation, and fits. goldens/twinkle was recorded with twinkle-kit 0.0.1 and 0.5.1.

import { readFileSync } from 'node:fs'
import { Router } from '@koa/router'
import { describe, expect, it } from 'vitest'
import { type OperationId, operations } from '../src/generated/operations.ts'
import { bodyValidators, queryValidators } from '../src/generated/validators.ts'
import { explainInvalid } from '../src/server/http/explain-invalid.ts'
import { problemWithAnswer } from './answers.ts'

interface Exchange {
  readonly request: { readonly method: string; readonly path: string; readonly body: unknown }
  readonly response: { readonly status: number; readonly body: unknown }
}

const ids = (Object.keys(operations) as OperationId[]).filter((id) => operations[id].document === 'twinkle')
const router = new Router()
for (const id of ids) {
  const { koaPath, aliases, method } = operations[id]
  for (const path of [koaPath, ...aliases]) router.register(path, [method], () => {}, { name: id })
}

function route(method: string, path: string): OperationId | undefined {
  const match = router.match(path.split('?')[0]!, method.toUpperCase())
  return match.pathAndMethod[0]?.name as OperationId | undefined
}

function recorded(name: string): Exchange[] {
  return JSON.parse(readFileSync(new URL(`goldens/twinkle/${name}.json`, import.meta.url), 'utf8')).exchanges
}

const NEWEST = ['management', 'model', 'sampler', 'processor'].map((part) => `native-0.5.1-${part}`)

describe.each([...NEWEST, 'native-0.0.1-seed-era'])('%s', (name) => {
  it.each(recorded(name))('$request.method $request.path', ({ request, response }) => {
    const id = route(request.method, request.path)
    expect(id).toBeDefined()
    const validate = bodyValidators[id!]
    if (request.body !== null) {
      expect(validate!(request.body) ? undefined : explainInvalid(validate!.errors, request.body)).toBeUndefined()
    }
    const query = Object.fromEntries(new URLSearchParams(request.path.split('?')[1]))
    expect(queryValidators[id!]?.(query) ?? true).toBe(true)
    const isNewest = request.path.startsWith('/api/v1/')
    if (isNewest && response.status === 200) expect(problemWithAnswer(id!, 200, response.body)).toBeUndefined()
  })
})

describe('paths', () => {
  it.each(['tiny', 'org/tiny', 'hub/org/tiny', 'a/twinkle/b'])('take the base model %s in both generations', (base) => {
    expect(route('post', `/api/v1/model/${base}/twinkle/forward_backward`)).toBe('modelForwardBackward')
    expect(route('post', `/models/${base}/forward_backward`)).toBe('modelForwardBackward')
    expect(route('post', `/api/v1/sampler/${base}/twinkle/sample`)).toBe('samplerSample')
    expect(route('post', `/samplers/${base}/sample`)).toBe('samplerSample')
    expect(route('get', `/api/v1/model/${base}/twinkle/upload_status/req_1`)).toBe('modelUploadStatus')
    expect(route('get', `/api/v1/model/${base}/healthz`)).toBe('modelHealthz')
  })

  it('have heartbeats of objects in both generations', () => {
    for (const prefix of ['/models/org/tiny', '/api/v1/model/org/tiny/twinkle']) {
      expect(route('post', `${prefix}/heartbeat`)).toBe('modelHeartbeat')
    }
    for (const prefix of ['/samplers/org/tiny', '/api/v1/sampler/org/tiny/twinkle']) {
      expect(route('post', `${prefix}/heartbeat`)).toBe('samplerHeartbeat')
    }
    for (const prefix of ['/processors', '/api/v1/processor/twinkle']) {
      expect(route('post', `${prefix}/heartbeat`)).toBe('processorHeartbeat')
    }
  })

  it('need a key for everything but health', () => {
    const open = ids.filter((id) => !operations[id].needsKey)
    expect(open).toEqual(['twinkleHealthz', 'twinkleDeepHealth', 'modelHealthz'])
  })
})

describe('bodies', () => {
  const fits = (id: OperationId, body: unknown) => bodyValidators[id]!(body)

  it('let what they do not name through', () => {
    const strange = { anything: [1, { deep: true }], lr: 'x' }
    for (const id of ids.filter((id) => id.startsWith('model') && operations[id].method === 'post')) {
      const named = {
        adapter_name: 'a',
        name: 'n',
        inputs: [],
        checkpoint_dir: 'c',
        hub_model_id: 'h',
        template_cls: 't',
        processor_cls: 'p',
        loss_cls: 'l',
        optimizer_cls: 'o',
        scheduler_cls: 's',
        metric_cls: 'm',
        patch_cls: 'p',
      }
      expect(fits(id, { ...strange, ...named }), id).toBe(true)
    }
  })

  it('take a LoRA configuration in every form', () => {
    for (const config of [null, '{"r": 8}', { r: 8 }]) {
      expect(fits('modelAddAdapter', { adapter_name: 'a', config })).toBe(true)
    }
    expect(fits('modelAddAdapter', { adapter_name: 'a', config: 8 })).toBe(false)
  })

  it('take the answer of save for a path', () => {
    const saved = { twinkle_path: 'twinkle://r/weights/a', checkpoint_dir: null }
    expect(fits('modelUploadToHub', { checkpoint_dir: saved, hub_model_id: 'a/b' })).toBe(true)
    expect(fits('modelUploadToHub', { checkpoint_dir: {}, hub_model_id: 'a/b' })).toBe(false)
  })
})
