// What holds for futures, sample events and sessions when two servers share a database: whichever of them a client asks, it
// hears what happened at the other. The servers' parts are real; what carries their signals is the test's.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Kysely } from 'kysely'
import sinon from 'sinon'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Journal } from '../store/journal.ts'
import type { Database } from '../store/schema.ts'
import type { Signals } from '../store/signals.ts'
import { openSqlite } from '../store/sqlite.ts'
import { SignalBus } from '../testing/signal-bus.ts'
import { Futures } from './futures.ts'
import { Inquiries } from './inquiries.ts'
import { Patience } from './patience.ts'
import { Queue, type Standing } from './queue.ts'
import { SampleEvents } from './sample-events.ts'
import { Sessions } from './sessions.ts'
import { FOR_EVER } from './tenure.ts'

const TENANT = 'anna'
const TIMEOUT = 300_000
const never = new AbortController().signal

let stateDir: string
let db: Kysely<Database>
let bus: SignalBus
let here: Server
let there: Server

type Server = ReturnType<typeof newServer>

function newServer() {
  const signals = bus.join()
  const fail = (cause: unknown) => {
    throw cause
  }
  const journal = new Journal(db, stateDir, signals)
  const futures = new Futures(journal, signals, new Patience(fail), fail)
  const sessions = new Sessions(db, signals, TIMEOUT, fail)
  return { journal, futures, sessions, events: new SampleEvents(db, futures, sessions, signals) }
}

beforeEach(async () => {
  stateDir = mkdtempSync(join(tmpdir(), 'twinkle-two-'))
  db = await openSqlite(':memory:')
  bus = new SignalBus()
  here = newServer()
  there = newServer()
})
afterEach(async () => {
  await here.sessions.close()
  await there.sessions.close()
  await db.destroy()
  rmSync(stateDir, { recursive: true })
})

async function acknowledged(seq = 0, sampler = 's:sample:0'): Promise<string> {
  const identity = `sample:${sampler}:${seq}`
  const payload = new TextEncoder().encode(identity)
  const operation = { tenant: TENANT, session: 's', subject: sampler, kind: 'sample', identity, payload } as const
  return (await here.journal.append(operation)).id
}
const finish = (server: Server, id: string) => {
  server.futures.open(id, FOR_EVER)
  return server.futures.resolve(id, { type: 'json', value: { of: id } })
}
const isDone = { state: 'done', type: 'json' }

describe('a future', () => {
  it('is answered by the server that did not carry it out, in the moment of its end', async () => {
    const id = await acknowledged()
    const waiting = there.futures.retrieve(TENANT, id, 60_000, never)
    await finish(here, id)
    expect(await waiting).toMatchObject(isDone)
    expect(await there.futures.retrieve(TENANT, id, 0, never)).toMatchObject(isDone)
  })

  it('is looked for again when signals were lost', async () => {
    const [ended, open] = [await acknowledged(0), await acknowledged(1)]
    const waiting = [ended, open].map((id) => there.futures.retrieve(TENANT, id, 60_000, never))
    bus.isUp = false
    await finish(here, ended)
    bus.mend()
    expect(await waiting[0]).toMatchObject(isDone)
    await finish(here, open)
    expect(await waiting[1]).toMatchObject(isDone)
  })
})

describe('where an operation stands', () => {
  const standing = (requestId: string): Standing => ({
    ...{
      requestId,
      tenant: TENANT,
      baseModel: 'tiny',
      kind: 'sampling',
      state: 'waiting',
      queueState: 'paused_capacity',
    },
    ...{ position: 3, reason: 'behind 3 operations', estimateMs: 1200 },
  })
  const newInquiries = (signals: Signals, known: readonly string[]) => {
    const source = {
      standing: (id: string) => (known.includes(id) ? standing(id) : null),
      lines: () => [],
      open: () => known,
    }
    const fail = (cause: unknown) => {
      throw cause
    }
    return new Inquiries({ db, signals, queue: new Queue([source]), log: fail })
  }

  it('is told by the server that has it, to all who ask, in a few signals', async () => {
    const ids = Array.from({ length: 130 }, (_, i) => `req-${i}`)
    const signals = bus.join()
    const send = sinon.spy(signals, 'send')
    newInquiries(bus.join(), ids)
    newInquiries(bus.join(), ['req-of-nobody'])
    const asking = newInquiries(signals, [])
    const asked = [...ids, 'req-1'].map((id) => asking.standing(id))
    expect(await Promise.all(asked)).toEqual([...ids, 'req-1'].map(standing))
    expect(send.callCount).toBe(2)
  })

  it('is not known where no server has it, after a moment', async () => {
    const clock = sinon.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    try {
      const asked = newInquiries(bus.join(), []).standing('req-1')
      await clock.tickAsync(1000)
      expect(await asked).toBeNull()
    } finally {
      clock.restore()
    }
  })

  it('is not taken from whoever tells what no server would', async () => {
    const clock = sinon.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    try {
      const stranger = bus.join()
      const asked = newInquiries(bus.join(), []).standing('req-1')
      const lies = [{ position: -1 }, { reason: 'x'.repeat(5000) }, { queueState: 'lost' }, { estimateMs: 'soon' }]
      await stranger.send(db, 'told', [null, 7, ...lies.map((lie) => ({ ...standing('req-1'), ...lie }))])
      await clock.tickAsync(1000)
      expect(await asked).toBeNull()
    } finally {
      clock.restore()
    }
  })
})

describe('the ends of samples', () => {
  const poll = (server: Server, cursor: number, holdMs = 60_000) =>
    server.events.poll({ samplingSession: 's:sample:0', cursor, holdMs }, never)

  it('are heard whichever server is polled, each of them, and the cursor rises', async () => {
    const ids = await Promise.all(Array.from({ length: 6 }, (_, seq) => acknowledged(seq)))
    await Promise.all([poll(here, 0, 0), poll(there, 0, 0)])
    const heard = new Set<string>()
    let cursor = 0
    for (const [turn, id] of ids.entries()) {
      await finish(here, id)
      const answer = await poll(turn % 2 ? here : there, cursor)
      for (const end of answer.ends) heard.add(end.id)
      expect(answer.cursor).toBeGreaterThanOrEqual(cursor)
      cursor = answer.cursor
    }
    expect([...heard]).toEqual(ids)
  })

  it('are not lost though the other server has another order and another clock', async () => {
    const [first, second] = [await acknowledged(0), await acknowledged(1)]
    await poll(there, 0, 0)
    bus.isUp = false
    await finish(here, first)
    await finish(here, second)
    const { cursor, ends } = await poll(here, 0)
    expect(ends).toHaveLength(2)
    bus.mend()
    // A cursor of the other server says nothing about the last moments before it.
    const { ends: again } = await poll(there, cursor + 500_000)
    expect(again.map(({ id }) => id)).toEqual([first, second])
  })

  it('are told once by the server that is polled again', async () => {
    const id = await acknowledged(0)
    await poll(there, 0, 0)
    await finish(here, id)
    const { cursor } = await poll(there, 0)
    expect((await poll(there, cursor, 0)).ends).toEqual([])
  })

  it('wake whoever waits after signals were lost', async () => {
    const id = await acknowledged(0)
    await poll(there, 0, 0)
    const waiting = poll(there, 0)
    bus.isUp = false
    await finish(here, id)
    bus.mend()
    expect((await waiting).ends.map((end) => end.id)).toEqual([id])
  })
})

describe('a session', () => {
  const opened = () =>
    here.sessions.create(TENANT, {
      tags: [],
      userMetadata: {},
      sdkVersion: null,
      projectId: null,
      displayName: null,
    })
  const stateOf = (id: string) =>
    db.selectFrom('sessions').select(['state', 'finish_reason']).where('id', '=', id).executeTakeFirstOrThrow()

  it('is over at both servers, once, when it is finished at one', async () => {
    const id = await opened()
    const told: string[] = []
    here.sessions.onEnd((session) => told.push(`here ${session}`))
    there.sessions.onEnd((session) => told.push(`there ${session}`))
    await there.sessions.finish(TENANT, id, 'completed', null)
    await here.sessions.finish(TENANT, id, 'failed', null)
    expect(told.sort()).toEqual([`here ${id}`, `there ${id}`])
    expect(await stateOf(id)).toEqual({ state: 'finished', finish_reason: 'completed' })
  })

  describe('in time', () => {
    let clock: sinon.SinonFakeTimers
    beforeEach(async () => {
      for (const { sessions } of [here, there]) await sessions.close()
      clock = sinon.useFakeTimers({ now: Date.now(), toFake: ['setTimeout', 'clearTimeout', 'Date'] })
      here = newServer()
      there = newServer()
    })
    afterEach(() => clock.restore())

    it('is kept by signs of life at either server, and ends after a whole timeout of silence', async () => {
      const id = await opened()
      for (let beat = 0; beat < 6; beat++) {
        await clock.tickAsync(TIMEOUT / 2)
        await (beat % 2 ? here : there).sessions.heartbeat(TENANT, id)
      }
      await clock.tickAsync(TIMEOUT - 1)
      expect(await stateOf(id)).toMatchObject({ state: 'active' })
      const over = new Promise((resolve) => there.sessions.onEnd(resolve))
      await clock.tickAsync(1)
      expect(await over).toBe(id)
      expect(await stateOf(id)).toMatchObject({ state: 'expired' })
    })

    it('gets a whole timeout to come back after servers were away', async () => {
      const id = await opened()
      for (const { sessions } of [here, there]) await sessions.close()
      await clock.tickAsync(10 * TIMEOUT)
      here = newServer()
      await clock.tickAsync(TIMEOUT - 1)
      await here.sessions.heartbeat(TENANT, id)
      await clock.tickAsync(2)
      expect(await stateOf(id)).toMatchObject({ state: 'active' })
    })
  })
})
