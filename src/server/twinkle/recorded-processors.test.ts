// Processor routes as Twinkle's own clients use them, object by object. The recorded answers were a stub's; ours are held
// against what the client requires of them.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, it } from 'vitest'
import { Recording } from './testing/recording.ts'

/** Calls that we refuse, where the stub knew no better: a filter that is not there, images, packing without a template. */
const REFUSED: Readonly<Record<string, string>> = {
  filter: 'UNKNOWN_NAME',
  cast_column: 'UNSUPPORTED_NAME',
  pack_dataset: 'INVALID_ARGUMENT',
}

let ending: (() => Promise<void>) | undefined
afterEach(() => ending?.())

function folderOfData(): string {
  const dataDir = mkdtempSync(join(tmpdir(), 'twinkle-data-'))
  const write = (folder: string, name: string, row: object) => {
    mkdirSync(join(dataDir, folder))
    writeFileSync(join(dataDir, folder, `${name}.jsonl`), `${JSON.stringify(row)}\n`.repeat(3))
  }
  write('swift', 'self-cognition', { query: 'Who?', response: '{{NAME}}' })
  // Added after the other one was encoded, and loaded together with it.
  write('x', 'y', { input_ids: [1, 2], labels: [2, -100] })
  return dataDir
}

it.each([
  ['native-0.5.1-processor.json', '/api/v1/processor/'],
  ['native-0.0.1-seed-era.json', '/processors/'],
])('%s', async (name, prefix) => {
  const dataDir = folderOfData()
  const recording = new Recording(name, prefix, { dataDir })
  await recording.start()
  ending = async () => {
    await recording.server.stop()
    rmSync(dataDir, { recursive: true })
  }
  for (const { request, response } of recording.exchanges) {
    const { function: called } = request.body
    let answer = await recording.send(request)
    // Our data set is longer than the stub's: a loop goes on to its end.
    if (response.status === 410) while (answer.status === 200) answer = await recording.send(request)
    const refusal = REFUSED[called]
    expect({ called, ...answer }).toMatchObject(
      refusal ? { status: 400, json: { code: refusal } } : { status: response.status },
    )
    if (response.body.processor_id) recording.names.set(response.body.processor_id, answer.json.processor_id)
    if (answer.status === 200 && called) expect(answer.json).toHaveProperty('result')
    if (called === '__next__' && answer.status === 200) {
      expect(answer.json.result[0]).toMatchObject({ input_ids: expect.any(Array), labels: expect.any(Array) })
    }
    if (called === '__len__') expect(answer.json.result).toBeGreaterThan(0)
  }
  expect([...recording.names.keys()].filter((name) => name.startsWith('pid:'))).toHaveLength(7)
})
