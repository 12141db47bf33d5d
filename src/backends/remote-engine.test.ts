import { once } from 'node:events'
import type { Duplex } from 'node:stream'
import sinon from 'sinon'
import { afterEach, describe, expect, it, onTestFinished } from 'vitest'
import type { Engine, TrainingItem } from './backend.ts'
import { collect, generation, gradientClip, LORA, optimStep, trainingItem } from './conformance/requests.ts'
import { engineError } from './engine-errors.ts'
import { PROTOCOL_VERSION } from './engine-messages.ts'
import { encodeFrame } from './frames.ts'
import { connectEngine } from './remote-engine.ts'
import { serveEngine } from './serve-engine.ts'
import { FakeEngine } from './testing/fake-engine.ts'
import { socketPair } from './testing/socket-pair.ts'

const MODEL = { name: 'fake/bigram', path: '/models/bigram' }
const OPTIONS = { cacheDir: '/cache', threads: 3 }

interface Pair {
  readonly engine: Engine
  readonly fake: FakeEngine
  readonly near: Duplex
  readonly far: Duplex
  readonly served: Promise<void>
}
const pairs: Pair[] = []
afterEach(async () => {
  for (const { near, served } of pairs.splice(0)) {
    near.destroy()
    await served.catch(() => {})
  }
})

async function connected(fake = new FakeEngine(), gone?: () => Promise<string>): Promise<Pair> {
  const [near, far] = await socketPair()
  const served = serveEngine(far, async () => fake)
  const engine = await connectEngine(near, MODEL, { ...OPTIONS, ...(gone && { gone }) })
  const pair = { engine, fake, near, far, served }
  pairs.push(pair)
  return pair
}

describe('a remote engine', () => {
  it('opens the model that was asked for and reports what it is', async () => {
    const [near, far] = await socketPair()
    let asked: unknown
    const served = serveEngine(far, async (...args) => {
      asked = args
      return new FakeEngine()
    })
    const engine = await connectEngine(near, MODEL, OPTIONS)
    expect(asked).toEqual([MODEL, OPTIONS])
    expect(engine.info).toEqual(new FakeEngine().info)
    await engine.close()
    await served
  })

  it('answers as the engine itself does, bit for bit', async () => {
    const { engine } = await connected()
    const local = new FakeEngine()
    const answers = []
    for (const e of [engine, local]) {
      const seen: unknown[] = [await e.createAdapter('a', LORA)]
      seen.push(await collect(e.train([trainingItem('t', 'a'), trainingItem('u', 'nobody')])))
      seen.push(await e.optimStep([optimStep('o', 'a'), optimStep('p', 'nobody')]))
      seen.push(await e.clipGradients([gradientClip('c', 'a', { divisor: 2 }), gradientClip('d', 'nobody')]))
      const snapshot = await e.publish('a')
      seen.push(snapshot, await collect(e.generate(generation('g', { snapshot, promptLogprobs: true, samples: 2 }))))
      seen.push(await e.discardGradients('a'), await e.releaseSnapshot(snapshot), await e.releaseAdapter('a'))
      answers.push(seen)
    }
    expect(answers[0]).toEqual(answers[1])
  })

  it('hands outcomes on as they are done', async () => {
    const { engine, fake } = await connected()
    await engine.createAdapter('a', LORA)
    const outcomes = engine.train([trainingItem('first', 'a'), trainingItem('second', 'a')])[Symbol.asyncIterator]()
    expect((await outcomes.next()).value).toMatchObject({ operation: 'first' })
    const gate = fake.block('train')
    const late = engine
      .train([trainingItem('third', 'a')])
      [Symbol.asyncIterator]()
      .next()
    await gate.entered
    expect((await engine.status()).adapters).toBe(1)
    gate.open()
    expect((await late).value).toMatchObject({ operation: 'third' })
  })

  it('cancels by signal: what was not done ends as cancelled', async () => {
    const { engine, fake } = await connected()
    await engine.createAdapter('a', LORA)
    const gate = fake.block('train')
    const abort = new AbortController()
    const outcomes = collect(engine.train([trainingItem('t', 'a')], abort.signal))
    await gate.entered
    abort.abort()
    expect(await outcomes).toMatchObject([{ operation: 't', error: { code: 'CANCELLED' } }])
    const sampled = collect(engine.generate(generation('g'), AbortSignal.abort()))
    await expect(sampled).rejects.toMatchObject({ code: 'CANCELLED' })
  })

  it('cancels what its consumer leaves early, and is over when the consumer goes on', async () => {
    const { engine } = await connected()
    for await (const event of engine.generate(generation('g', { samples: 100 }))) {
      expect(event).toMatchObject({ type: 'sample', index: 0 })
      break
    }
    expect((await engine.status()).sampling).toBe(0)
  })

  it('passes errors on with category, code and sentence', async () => {
    const { engine, fake } = await connected()
    await expect(engine.publish('nobody')).rejects.toEqual(await caught(new FakeEngine().publish('nobody')))
    fake.failNext('publish', Object.assign(new Error('ENOSPC: no space left'), { code: 'ENOSPC' }))
    await expect(engine.publish('a')).rejects.toMatchObject({
      category: 'server',
      code: 'STORAGE',
      message: /no space/,
    })
  })

  it('brings numbers that are not finite to the engine, which refuses them for their operation only', async () => {
    const { engine } = await connected()
    await engine.createAdapter('a', LORA)
    const weights = Float32Array.of(NaN, 1, 1)
    const bad: TrainingItem = {
      ...trainingItem('bad', 'a'),
      datums: [{ ...trainingItem('', 'a').datums[0]!, weights }],
    }
    const outcomes = await collect(engine.train([bad, trainingItem('good', 'a')]))
    expect(outcomes).toMatchObject([{ error: { code: 'INVALID_INPUT' } }, { result: {} }])
    const steps = await engine.optimStep([optimStep('o', 'a', { learningRate: Infinity })])
    expect(steps).toMatchObject([{ error: { code: 'INVALID_INPUT', message: expect.stringContaining('Infinity') } }])
  })

  it('refuses what a frame cannot carry, and nothing else', async () => {
    const { engine } = await connected()
    const config = { ...LORA, rank: 4n as unknown as number }
    await expect(engine.createAdapter('a', config)).rejects.toMatchObject({ code: 'PROTOCOL', message: /bigint/ })
    await expect(engine.createAdapter('a', LORA)).resolves.toBeDefined()
  })
})

describe('the end of a remote engine', () => {
  it('by close: calls under way end, closed settles without an error, the other side is closed too', async () => {
    const { engine, fake, served } = await connected()
    const gate = fake.block('publish')
    const published = caught(engine.publish('a'))
    await gate.entered
    await engine.close()
    expect(await published).toMatchObject({ code: 'ENGINE_CLOSED' })
    expect(await engine.closed).toBeNull()
    expect(await fake.closed).toBeNull()
    await served
    await expect(engine.status()).rejects.toMatchObject({ code: 'ENGINE_CLOSED' })
    await engine.close()
  })

  it('by close, also of an engine that does not manage to', async () => {
    const clock = sinon.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    onTestFinished(() => clock.restore())
    const { engine, fake, far } = await connected()
    let release = () => {}
    fake.close = () => new Promise<void>((resolve) => (release = resolve))
    const closing = engine.close()
    await clock.tickAsync(5_000)
    await closing
    expect(await engine.closed).toBeNull()
    await once(far, 'close')
    fake.close = async () => {}
    release()
  })

  it('by the stream: all calls under way fail at once with the reason, and later ones too', async () => {
    const { engine, fake, far } = await connected(undefined, async () => 'the engine process was killed by SIGKILL')
    const gates = [fake.block('generate'), fake.block('publish')]
    const calls = [caught(collect(engine.generate(generation('g')))), caught(engine.publish('a'))]
    await Promise.all(gates.map((gate) => gate.entered))
    far.destroy()
    const lost = { category: 'server', code: 'ENGINE_LOST', message: 'the engine process was killed by SIGKILL' }
    expect(await Promise.all(calls)).toMatchObject([lost, lost])
    expect(await engine.closed).toMatchObject(lost)
    await expect(engine.status()).rejects.toMatchObject(lost)
  })

  it('by an engine that dies by itself', async () => {
    const { engine, fake } = await connected()
    fake.crash()
    expect(await engine.closed).toMatchObject({ code: 'ENGINE_LOST' })
  })

  it.each([
    ['bytes that are no frame', Buffer.alloc(64, 0xff), /limit/],
    ['an answer to no call', encodeFrame({ id: 99, result: null })[0]!, /call 99/],
    ['a message that is no object', encodeFrame(null)[0]!, /call undefined/],
  ])('by %s', async (_, bytes, sentence) => {
    const { engine, far } = await connected()
    far.write(bytes)
    const lost = { code: 'ENGINE_LOST', message: expect.stringMatching(sentence) }
    expect(await engine.closed).toMatchObject(lost)
    await expect(engine.status()).rejects.toMatchObject(lost)
  })

  it('by an answer that says nothing: the call fails with it', async () => {
    const { engine, fake, far } = await connected()
    const gate = fake.block('publish')
    const published = caught(engine.publish('a'))
    await gate.entered
    far.write(encodeFrame({ id: 2 })[0]!)
    expect(await published).toMatchObject({
      code: 'ENGINE_LOST',
      message: expect.stringContaining('a result or an error'),
    })
  })

  it('delivers what was done before it', async () => {
    const { engine, fake, far } = await connected()
    const gate = fake.block('publish')
    fake.generate = async function* () {
      yield { type: 'prompt', logprobs: Float32Array.of(NaN, -1) }
      await fake.publish('a')
    }
    const events = engine.generate(generation('g'))[Symbol.asyncIterator]()
    const first = events.next()
    await gate.entered
    far.destroy()
    expect(await first).toMatchObject({ value: { type: 'prompt' } })
    await expect(events.next()).rejects.toMatchObject({ code: 'ENGINE_LOST' })
  })
})

describe('opening', () => {
  it('fails with the error of the engine and leaves no stream behind', async () => {
    const [near, far] = await socketPair()
    const served = serveEngine(far, async () => {
      throw engineError('INVALID_MODEL', '/models/bigram has no config.json')
    })
    await expect(connectEngine(near, MODEL, OPTIONS)).rejects.toMatchObject({ code: 'INVALID_MODEL' })
    expect(near.destroyed).toBe(true)
    await served
  })

  it('can be given up', async () => {
    const [near, far] = await socketPair()
    const abort = new AbortController()
    const served = serveEngine(far, async () => {
      abort.abort()
      return new FakeEngine()
    })
    await expect(connectEngine(near, MODEL, OPTIONS, abort.signal)).rejects.toMatchObject({ code: 'CANCELLED' })
    await served
  })

  it('needs both sides to speak the same version', async () => {
    const [near, far] = await socketPair()
    const served = serveEngine(far, async () => new FakeEngine())
    const args = [{ protocol: 99, model: MODEL, options: OPTIONS }]
    expect(await answerTo(near, { id: 1, epoch: 0, op: 'open', args })).toMatchObject({
      id: 1,
      error: { code: 'PROTOCOL', message: expect.stringContaining('version 99') },
    })
    near.destroy()
    await served
  })
})

describe('serveEngine', () => {
  it.each([
    ['a call before open', { id: 1, epoch: 1, op: 'status', args: [] }, 'PROTOCOL', /first call must be open/],
    [
      'a method that engines do not have',
      { id: 9, epoch: 1, op: 'constructor', args: [] },
      'PROTOCOL',
      /there are createAdapter/,
    ],
    ['a call meant for an earlier epoch', { id: 9, epoch: 0, op: 'status', args: [] }, 'STALE_EPOCH', /epoch 0/],
  ])('refuses %s', async (_, request, code, sentence) => {
    const [near, far] = await socketPair()
    const served = serveEngine(far, async () => new FakeEngine())
    if (request.id > 1) {
      await answerTo(near, {
        id: 1,
        epoch: 0,
        op: 'open',
        args: [{ protocol: PROTOCOL_VERSION, model: MODEL, options: OPTIONS }],
      })
    }
    expect(await answerTo(near, request)).toMatchObject({
      id: request.id,
      error: { code, message: expect.stringMatching(sentence) },
    })
    near.destroy()
    await served
  })

  it('says so when it is sent no frames', async () => {
    const [near, far] = await socketPair()
    const served = serveEngine(far, async () => new FakeEngine())
    near.write(Buffer.alloc(64, 0xff))
    await expect(served).rejects.toMatchObject({ code: 'PROTOCOL' })
  })
})

async function answerTo(stream: Duplex, message: unknown): Promise<unknown> {
  const { FrameDecoder } = await import('./frames.ts')
  const decoder = new FrameDecoder()
  for (const piece of encodeFrame(message)) stream.write(piece)
  return new Promise((resolve) => {
    stream.once('data', (chunk: Uint8Array) => resolve([...decoder.push(chunk)][0]))
  })
}

const caught = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => {
      throw new Error('it did not fail')
    },
    (error) => error,
  )
