// Files of the state directory that a disk has lost or cut off: what depends on them fails with a sentence that says so, the
// server starts, and everything else goes on.

import { readdirSync, readFileSync, renameSync, rmSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import sinon from 'sinon'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type FakeBackend, fakeBackend } from '../../backends/testing/fake-backend.ts'
import type { FakeEngine } from '../../backends/testing/fake-engine.ts'
import { ADAMW, House, pass, savedAs } from './testing/house.ts'

/** So many datums of so many tokens make a call, and its answer, too large for a row. */
const MANY = [100, 500] as const

let house: House
let backend: FakeBackend
beforeEach(async () => {
  backend = fakeBackend()
  house = await House.open(backend)
})
afterEach(() => house.remove())

const train = (run: string, seq: number, ...size: readonly number[]) =>
  house.services.training.train('anna', pass(run, seq, ...size))
const step = (run: string, seq: number) => house.services.training.optimStep('anna', run, seq, ADAMW)
const draw = (from: { modelPath: string } | { baseModel: string }) =>
  house.services.sampling.sample('anna', {
    ...{ ...from, prompt: Int32Array.of(1, 2), samples: 1, maxTokens: 2, temperature: 1, topK: 0, topP: 1 },
    ...{ promptLogprobs: false, topkPromptLogprobs: 0, topkSampleLogprobs: 0 },
  })
const restart = (meanwhile: () => void) => house.restart(fakeBackend(), meanwhile)

const blobs = () => readdirSync(join(house.root, 'blobs')).map((name) => join(house.root, 'blobs', name))
const cut = (file: string) => truncateSync(file, readFileSync(file).length >> 1)

const done = { state: 'done' }
const failed = (code: string) => ({ state: 'failed', error: { code, category: 'server' } })

describe('work whose start cannot be recorded', () => {
  it('waits until it can be, and those who look on are told', async () => {
    const run = await house.newRun()
    const full = Object.assign(new Error('no space'), { code: 'ENOSPC' })
    const start = sinon.stub(house.services.journal, 'start').rejects(full)
    const [trained, drawn] = [await train(run, 1), await draw({ baseModel: 'tiny' })]
    await expect.poll(() => house.services.futures.late).toBe(2)
    start.restore()
    expect(await house.end(trained.requestId)).toMatchObject(done)
    expect(await house.end(drawn.requestId)).toMatchObject(done)
    expect(house.services.futures.late).toBe(0)
  })

  it('is there at the next start', async () => {
    const run = await house.newRun()
    const full = Object.assign(new Error('no space'), { code: 'ENOSPC' })
    sinon.stub(house.services.journal, 'start').rejects(full)
    const { requestId } = await train(run, 1)
    await expect.poll(() => house.services.futures.late).toBe(1)
    house.services.futures.stopRecording()
    await restart(() => {})
    expect(await house.end(requestId)).toMatchObject(done)
  })
})

describe('a large call', () => {
  it.each([
    ['is cut off', cut],
    ['is gone', (file: string) => rmSync(file)],
  ])('whose file %s fails when its turn comes, and the next one is done', async (_, damage) => {
    const [mine, theirs] = [await house.newRun(0), await house.newRun(1)]
    const early = [await train(mine, 2, ...MANY), await train(mine, 3), await train(theirs, 2)]
    await restart(() => blobs().forEach(damage))
    await Promise.all([train(mine, 1), train(theirs, 1)])
    const ends = await Promise.all(early.map(({ requestId }) => house.end(requestId)))
    expect(ends).toMatchObject([failed('CALL_LOST'), done, done])
  })

  it('that a run cannot be brought back without takes down no other run', async () => {
    const [mine, theirs] = [await house.newRun(0), await house.newRun(1)]
    await house.end(train(mine, 1, ...MANY))
    await house.end(train(theirs, 1))
    await restart(() => blobs().forEach(cut))
    const end = await house.end(step(mine, 2))
    expect(end).toMatchObject(failed('NOT_RESTORABLE'))
    expect(end).toMatchObject({ error: { message: expect.stringContaining(mine) } })
    expect(JSON.stringify(end)).not.toContain(house.root)
    expect(await house.end(step(theirs, 2))).toMatchObject(done)
  })
})

describe('a large answer', () => {
  it('whose file is cut off is a failure, and others are there', async () => {
    const run = await house.newRun()
    const large = await train(run, 1, ...MANY)
    const small = await train(run, 2)
    expect(await house.end(large.requestId)).toMatchObject(done)
    blobs().forEach(cut)
    expect(await house.end(large.requestId)).toMatchObject(failed('ANSWER_LOST'))
    expect(await house.end(small.requestId)).toMatchObject(done)
  })
})

describe('a restart point that is cut off', () => {
  it('stops its run with a clear error, no other, and when the file is back the run goes on', async () => {
    const [mine, theirs] = [await house.newRun(0), await house.newRun(1)]
    for (const run of [mine, theirs]) {
      await house.end(train(run, 1))
      await house.end(step(run, 2))
      await house.services.lanes.drain()
    }
    const folder = join(house.root, 'checkpoints', mine.replaceAll(':', '_'), 'restart')
    const weights = join(folder, readdirSync(folder)[0] as string, 'fake_weights.json')
    await restart(() => {
      renameSync(weights, `${weights}.kept`)
    })
    const end = await house.end(train(mine, 3))
    expect(end).toMatchObject(failed('NOT_RESTORABLE'))
    expect(JSON.stringify(end)).not.toContain(house.root)
    expect(await house.end(train(theirs, 3))).toMatchObject(done)
    renameSync(`${weights}.kept`, weights)
    expect(await house.end(train(mine, 4))).toMatchObject(done)
    expect(await house.end(step(mine, 5))).toMatchObject(done)
  })
})

describe('a checkpoint that is cut off', () => {
  it('is refused by name for those who load it or sample from it, and the run that saved it goes on', async () => {
    const run = await house.newRun()
    await house.end(house.services.training.saveWeights('anna', run, 1, savedAs('torn')))
    const path = `tinker://${run}/weights/torn`
    const folder = join(house.root, 'checkpoints', run.replaceAll(':', '_'), 'weights')
    cut(join(folder, readdirSync(folder)[0] as string, 'fake_weights.json'))
    const load = await house.end(house.services.training.loadWeights('anna', run, 2, { path, optimizer: true }))
    expect(load).toMatchObject(failed('CHECKPOINT_UNREADABLE'))
    expect(load).toMatchObject({ error: { message: expect.stringContaining(path) } })
    expect(await house.end(draw({ modelPath: path }))).toMatchObject(failed('CHECKPOINT_UNREADABLE'))
    expect(await house.end(train(run, 3))).toMatchObject(done)
    expect(await house.end(step(run, 4))).toMatchObject(done)
  })

  it('is said to be gone when it was removed between the asking for a sample and its turn', async () => {
    const run = await house.newRun()
    await house.end(house.services.training.saveWeights('anna', run, 1, savedAs('brief')))
    const path = `tinker://${run}/weights/brief`
    const gate = (backend.engines[0] as FakeEngine).block('loadSnapshot')
    const asked = draw({ modelPath: path })
    await gate.entered
    await house.services.retention.remove('anna', path)
    gate.open()
    const end = await house.end(asked)
    expect(end).toMatchObject({ state: 'failed', error: { code: 'CHECKPOINT_NOT_FOUND', category: 'user' } })
  })
})
