import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { startServerProcess } from './server-process.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'twinkle-process-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

describe('a server process', () => {
  it('answers at the address of its ready block, and ends with code 0', async () => {
    const server = await startServerProcess(['--state-dir', folder])
    const answer = await fetch(`${server.url}/api/v1/get_server_capabilities`, { headers: { 'x-api-key': 'tml-a' } })
    expect(await answer.json()).toMatchObject({ supported_models: [{ model_name: 'twinkle/tiny' }] })
    await server.stop()
    await expect(fetch(server.url)).rejects.toThrow()
  })

  it.each([
    [['--model', 'org/none=./no-such-folder'], /no-such-folder: no such model.*Next: /],
    [['--model', `org/empty=${tmpdir()}`], /has no config\.json.*Next: /],
    [['--hold-seconds', '100'], /--hold-seconds cannot be "100".*Next: /],
  ])('that cannot serve %j says why in one line, and ends', async (args, sentence) => {
    const start = startServerProcess(['--state-dir', folder, ...args])
    await expect(start).rejects.toThrow(sentence)
  })

  it('whose port is used says which one', async () => {
    const first = await startServerProcess(['--state-dir', join(folder, 'a')])
    const port = new URL(first.url).port
    const second = startServerProcess(['--state-dir', join(folder, 'b'), '--port', port])
    await expect(second).rejects.toThrow(`Port ${port} on 127.0.0.1 is in use. Next: `)
    await first.stop()
  })

  it('that finds its state folder in use by another one says so', async () => {
    const first = await startServerProcess(['--state-dir', folder])
    await expect(startServerProcess(['--state-dir', folder])).rejects.toThrow(/in use by another server/)
    await first.stop()
  })
})
