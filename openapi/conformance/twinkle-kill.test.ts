// `kill -9` in the middle of an update by Twinkle's protocol: settings, counts and gradient are there again, and the step that
// follows is the one that an undisturbed server takes, to the bit.

import { rm } from 'node:fs/promises'
import { afterEach, expect, it } from 'vitest'
import { EMBEDDED_MODEL } from '../../src/server/config-fields.ts'
import { type ServerProcess, startServerProcess } from './server-process.ts'

const ROW = { input_ids: [5, 9, 17, 23, 42], labels: [9, 17, 23, 42, -100] }
const servers: ServerProcess[] = []
afterEach(async () => {
  for (const server of servers.splice(0)) {
    await server.stop()
    await rm(server.stateDir, { recursive: true, force: true })
  }
})

async function started(stateDir?: string): Promise<ServerProcess> {
  const server = await startServerProcess(stateDir === undefined ? {} : { stateDir })
  servers.push(server)
  return server
}

// biome-ignore lint/suspicious/noExplicitAny: any JSON
type Json = any

async function call(server: ServerProcess, op: string, body: object = {}): Promise<Json> {
  const answer = await fetch(`${server.url}/api/v1/model/${EMBEDDED_MODEL.name}/twinkle/${op}`, {
    method: 'POST',
    headers: { authorization: 'Bearer me', 'x-request-id': 'somebody', 'content-type': 'application/json' },
    body: JSON.stringify({ adapter_name: 'default', ...body }),
  })
  const json = await answer.json()
  expect(answer.status, `${op} ${JSON.stringify(json)}`).toBe(200)
  return json
}

async function firstHalf(server: ServerProcess): Promise<void> {
  await call(server, 'add_adapter_to_model', { config: { r: 4 }, seed: 7, gradient_accumulation_steps: 2 })
  await call(server, 'set_optimizer', { optimizer_cls: 'AdamW', lr: 0.01 })
  await call(server, 'set_lr_scheduler', { scheduler_cls: 'StepLR', step_size: 1, gamma: 0.5 })
  await call(server, 'forward_backward', { inputs: [ROW] })
}

async function secondHalf(server: ServerProcess): Promise<Json> {
  await call(server, 'forward_backward', { inputs: [ROW] })
  const norm = (await call(server, 'clip_grad_norm')).result
  for (const op of ['step', 'zero_grad', 'lr_step']) await call(server, op)
  const { result } = await call(server, 'forward_only', { inputs: [ROW] })
  return { norm, logps: result.logps, configs: (await call(server, 'get_train_configs')).result }
}

it('goes on as if nothing had happened', { timeout: 120_000 }, async () => {
  const undisturbed = await started()
  await firstHalf(undisturbed)
  const wanted = await secondHalf(undisturbed)
  expect(wanted.configs).toContain('Steps: 1')
  expect(wanted.configs).toContain('Learning rate: 0.005')

  const mortal = await started()
  await firstHalf(mortal)
  await mortal.kill()
  expect(await secondHalf(await started(mortal.stateDir))).toEqual(wanted)
})
