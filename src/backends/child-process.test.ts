import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import type { Engine } from './backend.ts'
import { spawnEngine } from './child-process.ts'
import { collect, generation, LORA } from './conformance/requests.ts'

const WORKER = new URL('./testing/fake-worker.ts', import.meta.url)

const engines: Engine[] = []
afterEach(async () => {
  for (const engine of engines.splice(0)) await engine.close()
})

async function open(
  name: string,
  { path = '/', log = [] as string[], signal = undefined as AbortSignal | undefined } = {},
) {
  const engine = await spawnEngine(
    WORKER,
    { name, path },
    { cacheDir: '/', threads: 0, log: (l) => log.push(l) },
    signal,
  )
  engines.push(engine)
  return engine
}

/** A server that a tethered worker connects to; its socket closes when the worker is no more. */
async function tether(): Promise<{ port: string; worker: Promise<Socket> }> {
  const server = createServer().listen(0, '127.0.0.1')
  onTestFinished(() => void server.close())
  await once(server, 'listening')
  const worker = once(server, 'connection').then(([socket]) => (socket as Socket).on('error', () => {}).resume())
  return { port: String((server.address() as AddressInfo).port), worker }
}

describe('an engine in a process of its own', () => {
  it('works, and passes what the worker logs on as sentences', async () => {
    const log: string[] = []
    const engine = await open('somebody/model', { log })
    expect(engine.info.model).toBe('somebody/model')
    expect(log).toEqual(['opening somebody/model'])
    await expect(engine.createAdapter('a', LORA)).resolves.toEqual({ parameters: 4096 })
    expect(await collect(engine.generate(generation('g')))).toHaveLength(1)
  })

  it('gets no secrets from the environment', async () => {
    vi.stubEnv('TWINKLE_API_KEY', 'hush')
    const log: string[] = []
    await open('secrets', { log })
    expect(log.at(-1)).toContain('PATH')
    expect(log.at(-1)).not.toContain('TWINKLE_API_KEY')
  })

  it('is gone when close returns', async () => {
    const { port, worker } = await tether()
    const engine = await open('tethered', { path: port })
    const end = worker.then((socket) => once(socket, 'close'))
    await engine.close()
    await end
    expect(await engine.closed).toBeNull()
  })

  it('fails all calls with how it died', async () => {
    const engine = await open('dies')
    const lost = {
      category: 'server',
      code: 'ENGINE_LOST',
      message: 'the engine process of dies was killed by SIGKILL; its last words: opening dies',
    }
    await expect(engine.publish('a')).rejects.toMatchObject(lost)
    expect(await engine.closed).toMatchObject(lost)
  })

  it('that breaks the protocol is lost, and killed when it does not end by itself', async () => {
    const engine = await open('babbles')
    const lost = { code: 'ENGINE_LOST', message: expect.stringContaining('broke the protocol') }
    await expect(engine.publish('a')).rejects.toMatchObject(lost)
    expect(await engine.closed).toMatchObject(lost)
  })

  it.each([
    ['broken', { category: 'user', code: 'INVALID_MODEL', message: 'the model is broken' }],
    ['exits', { code: 'ENGINE_LOST', message: expect.stringContaining('ended with exit code 7') }],
  ])('says why it could not open: %s', async (name, failure) => {
    await expect(open(name)).rejects.toMatchObject(failure)
  })

  it('says so when no process can be started', async () => {
    const { execPath } = process
    onTestFinished(() => {
      process.execPath = execPath
    })
    process.execPath = '/nowhere/node'
    await expect(open('late')).rejects.toMatchObject({
      code: 'ENGINE_LOST',
      message: expect.stringContaining('the engine process of late could not be started: spawn /nowhere/node ENOENT'),
    })
  })

  it('can be given up while it starts', async () => {
    const abort = new AbortController()
    const opening = open('late', { signal: abort.signal })
    abort.abort()
    await expect(opening).rejects.toMatchObject({ code: 'CANCELLED' })
  })

  it('ends when the process that started it is killed', async () => {
    const { port, worker } = await tether()
    const parent = startParent(port)
    const socket = await worker
    const end = once(socket, 'close')
    parent.kill('SIGKILL')
    await end
  })
})

function startParent(port: string): ChildProcess {
  const script = `
    import { spawnEngine } from ${JSON.stringify(new URL('./child-process.ts', import.meta.url).href)}
    const options = { cacheDir: '/', threads: 0, log: () => {} }
    await spawnEngine(new URL(${JSON.stringify(WORKER.href)}), { name: 'tethered', path: '${port}' }, options)
  `
  const cwd = fileURLToPath(new URL('../..', import.meta.url))
  return spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script], { cwd, stdio: 'ignore' })
}
