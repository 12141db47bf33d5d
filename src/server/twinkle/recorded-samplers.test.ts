// Sampler routes as Twinkle's own clients use them, of both generations: the shapes that they read.

import { afterEach, expect, it } from 'vitest'
import type { Json } from '../testing/test-server.ts'
import { Recording } from './testing/recording.ts'

let ending: (() => Promise<void>) | undefined
afterEach(() => ending?.())

const pair = [expect.any(Number), expect.any(Number)]

/** As the client's own types have it. */
function checkSequences(sequences: Json[], count: number): void {
  expect(sequences).toHaveLength(count)
  for (const { stop_reason, tokens, logprobs, decoded, new_input_feature: row } of sequences) {
    expect(['stop', 'length']).toContain(stop_reason)
    expect(logprobs).toEqual(tokens.map(() => [pair]))
    expect(logprobs.map(([[id]]: Json) => id)).toEqual(tokens)
    expect(decoded).toEqual(expect.any(String))
    expect(row.labels).toHaveLength(row.input_ids.length)
    expect(row.labels.filter((label: number) => label !== -100)).toEqual(tokens)
  }
}

it.each([
  ['native-0.5.1-sampler.json', '/api/v1/sampler/', 'session_7c90926dc0034c559dbac5842995f412', true],
  ['native-0.0.1-seed-era.json', '/samplers/', '20261123_234042-d3a9b82a', false],
])('%s', async (name, prefix, owner, isSampler) => {
  const recording = new Recording(name, prefix)
  await recording.start()
  ending = () => recording.server.stop()
  // The adapter that the recorded client had trained and saved before.
  const asked = { key: 'EMPTY_TOKEN', params: { base: 'tiny/tiny-llm' }, headers: recording.headers }
  await recording.server.call('modelAddAdapter', { ...asked, body: { adapter_name: 'default' } })
  const body = { adapter_name: 'default', name: 'sw', is_sampler: isSampler }
  const { twinkle_path } = await recording.server.call('modelSave', { ...asked, body })
  recording.names.set(
    `twinkle://${recording.names.get(owner) ?? owner}-default/${isSampler ? 'sampler_weights' : 'weights'}/sw`,
    twinkle_path,
  )
  for (const { request, response } of recording.exchanges) {
    const { status, json } = await recording.send(request)
    const operation = request.path.split('/').at(-1)
    if (operation === 'apply_patch') expect([status, json.code]).toEqual([400, 'UNKNOWN_PATCH'])
    else expect({ operation, status, json }).toMatchObject({ status: response.status })
    if (operation === 'set_template' || operation === 'heartbeat') expect(json).toEqual({ status: 'ok' })
    if (operation === 'add_adapter_to_sampler')
      expect(json.adapter_name).toBe(`${recording.names.get(owner) ?? owner}-default`)
    if (operation !== 'sample') continue
    if (isSampler) for (const { sequences } of json.samples) checkSequences(sequences, 2)
    else checkSequences(json.sequences, 4)
  }
})
