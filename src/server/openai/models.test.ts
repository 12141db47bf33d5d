// What may be named as a model: base models, and saved weights of the tenant, by the client that OpenAI makes.

import OpenAI from 'openai'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { withKeys } from '../testing/two-tenants.ts'
import { ScriptedServer } from './testing/scripted-server.ts'

const scripted = new ScriptedServer()
let anna: OpenAI
let bert: OpenAI
/** Anna's, of every kind. */
let paths: string[]
let run: string
/** A run without checkpoints. */
let unsaved: string
beforeAll(async () => {
  await scripted.start()
  const { server } = scripted
  const [annas, berts] = await withKeys(server, 'anna', 'bert')
  anna = scripted.client(annas)
  bert = scripted.client(berts)
  const session = await server.newSession({}, annas)
  const model = await server.newModel(session, {}, annas)
  run = model
  unsaved = await server.newModel(session, { model_seq_id: 1 }, annas)
  const save = async (id: 'saveWeights' | 'saveWeightsForSampler') =>
    (await server.result(id, { key: annas, body: { model_id: model, path: 'a' } })).path as string
  paths = [await save('saveWeights'), await save('saveWeightsForSampler')]
})
afterAll(() => scripted.stop())

const ask = (client: OpenAI, model: string, more: object = {}) =>
  client.chat.completions.create({ model, messages: [{ role: 'user', content: 'Hi' }], max_tokens: 2, ...more })

describe('models', () => {
  it('are listed and found by name', async () => {
    const { data } = await anna.models.list()
    expect(data).toMatchObject([{ id: 'org/tiny', object: 'model', owned_by: 'twinkle' }])
    expect(await anna.models.retrieve('org/tiny')).toEqual(data[0])
    await expect(anna.models.retrieve('org/other')).rejects.toBeInstanceOf(OpenAI.NotFoundError)
  })

  it('may be saved weights of either kind, under either scheme', async () => {
    for (const path of paths.flatMap((one) => [one, one.replace('tinker:', 'twinkle:')])) {
      expect(await anna.models.retrieve(path)).toMatchObject({ id: path, root: 'org/tiny' })
      expect((await ask(anna, path)).model).toBe(path)
      expect(scripted.lastRequest.snapshot).not.toBeNull()
    }
  })

  it('may have their weights named beside them', async () => {
    await ask(anna, 'org/tiny', { adapter_uri: paths[1] })
    expect(scripted.lastRequest.snapshot).not.toBeNull()
    await ask(anna, paths[1] as string, { adapter_uri: paths[1] })
    await expect(ask(anna, paths[0] as string, { adapter_uri: paths[1] })).rejects.toMatchObject({
      param: 'adapter_uri',
    })
    await ask(anna, 'org/tiny')
    expect(scripted.lastRequest.snapshot).toBeNull()
  })

  it('may be a run, which is what was saved of it last', async () => {
    expect(await anna.models.retrieve(run)).toMatchObject({ id: run, root: 'org/tiny' })
    expect((await ask(anna, run)).model).toBe(run)
    expect(scripted.lastRequest.snapshot).not.toBeNull()
    const error = await ask(anna, unsaved).catch((cause) => cause)
    expect(error).toMatchObject({ status: 404, code: 'RUN_NOT_SAVED', param: 'model' })
    for (const model of [run, unsaved])
      await expect(ask(bert, model)).rejects.toMatchObject({ code: 'model_not_found' })
  })

  it('of another tenant are as if they were not there, until they are published', async () => {
    const [run, kind, name] = (paths[1] as string).slice('tinker://'.length).split('/') as [string, string, string]
    for (const path of [paths[1] as string, `tinker://${run}/${kind}/other`]) {
      const error = await ask(bert, path).catch((cause) => cause)
      expect(error).toMatchObject({ status: 404, param: 'model' })
      expect(error.message.replaceAll(path, 'PATH')).toBe(
        '404 There is no checkpoint PATH. Save it first, or check its run, kind and name.',
      )
      await expect(bert.models.retrieve(path)).rejects.toBeInstanceOf(OpenAI.NotFoundError)
    }
    const params = { run, kind, name }
    await scripted.server.call('publishCheckpoint', { key: anna.apiKey as string, params })
    expect((await ask(bert, paths[1] as string)).choices).toHaveLength(1)
  })
})

it('without a key, or with a wrong one, nobody is served', async () => {
  const error = await ask(scripted.client('nobody'), 'org/tiny').catch((cause) => cause)
  expect(error).toBeInstanceOf(OpenAI.AuthenticationError)
  expect(error).toMatchObject({ code: 'invalid_api_key', type: 'authentication_error' })
  const bare = await fetch(`${scripted.server.url}/oai/api/v1/models`)
  expect([bare.status, await bare.json()]).toMatchObject([401, { error: { code: 'invalid_api_key' } }])
})
