// Twinkle's own form of server_config.yaml, and the first edition's, as its examples have them.

import { describe, expect, it } from 'vitest'
import { fromTwinkleForm } from './twinkle-config.ts'

const FILE = 'server_config.yaml'
const model = (args: object, more: object = {}) => ({
  applications: [{ name: 'm', route_prefix: '/api/v1/model/x', import_path: 'model', args, ...more }],
})
const INTERPOLATED = ['$', '{oc.env:MODEL}'].join('')
const plain = { model_id: 'ms://Qwen/Qwen3.5-4B', backend: 'transformers' }

describe('a configuration of Twinkle’s', () => {
  it('gives address, models, life of sessions and models a key may have', () => {
    const { settings, notes } = fromTwinkleForm(
      {
        ray_namespace: 'twinkle_cluster',
        http_options: { host: '127.0.0.1', port: 9000 },
        persistence: { mode: 'file', file_path: '/tmp/x' },
        applications: [
          {
            name: 'server',
            route_prefix: '/api/v1',
            import_path: 'server',
            args: { server_config: { per_token_model_limit: 3, expiration_timeout: 600 } },
          },
          ...model({ ...plain, device_group: { ranks: 1 }, queue_config: { rps_limit: 100 } }, { deployments: [{}] })
            .applications,
          { name: 's', route_prefix: '/x', import_path: 'sampler', args: { model_id: plain.model_id } },
          { name: 'p', route_prefix: '/y', import_path: 'processor', args: { ncpu_proc_per_node: 1 } },
        ],
      },
      FILE,
    )
    expect(settings).toEqual({
      host: '127.0.0.1',
      port: 9000,
      session_timeout_seconds: 600,
      limits: { adapters: 3 },
      models: { 'Qwen/Qwen3.5-4B': 'hf:Qwen/Qwen3.5-4B' },
    })
    expect(notes[0]).toMatch(/^No effect here: ray_namespace, persistence, .*applications\[1\]\.args\.device_group/)
    expect(notes.at(-1)).toBe('Qwen/Qwen3.5-4B comes from the Hugging Face hub, whatever hub its id names.')
  })

  it('may have the words of the first edition', () => {
    const { settings } = fromTwinkleForm(
      { server_type: 'tinker', ...model({ model_id: 'twinkle/tiny', use_megatron: false }) },
      FILE,
    )
    expect(Object.keys(settings.models as object)).toEqual(['twinkle/tiny'])
  })

  it.each([
    [{ server_typ: 'x', applications: [] }, 'the unknown key `server_typ` (did you mean', 'server_type'],
    [{ server_type: 'both' }, 'server_type in server_config.yaml cannot be "both"', 'twinkle or tinker'],
    [model({ ...plain, use_megatron: true }), 'has use_megatron: true and backend: transformers', 'one of them'],
    [
      model({ model_id: 'a/b', use_megatron: true }),
      'backend in server_config.yaml cannot be "megatron"',
      'transformers',
    ],
    [model({ ...plain, train_mode: 'full' }), 'train_mode in server_config.yaml cannot be "full"', 'lora'],
    [model({ ...plain, divice_mesh: {} }), 'the unknown key `applications[0].args.divice_mesh`', 'device_mesh'],
    [model({}), 'applications[0].args.model_id', 'a model'],
    [{ applications: [{ import_path: 'os' }] }, 'import_path in server_config.yaml cannot be "os"', 'sampler'],
    [{ persistence: { mode: 'redis' } }, 'persistence.mode', 'file'],
    [{ use_megatron: true }, 'use_megatron in server_config.yaml cannot be true', 'false'],
    [model({ model_id: INTERPOLATED }), 'cannot be "$', 'the value itself'],
    [{ applications: {} }, 'applications in server_config.yaml cannot be {}', 'a list'],
  ])('is refused by the path of the key: %j', (content, problem, next) => {
    const attempt = () => fromTwinkleForm(content, FILE)
    expect(attempt).toThrow(problem)
    expect(attempt).toThrow(expect.objectContaining({ next: expect.stringContaining(next) }))
  })
})
