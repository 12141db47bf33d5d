// What is saved for elsewhere and how it gets there: signed addresses, fetched without a key.

import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import sinon from 'sinon'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Json, TestServer } from '../testing/test-server.ts'

const BERT = 'tml-bert'
const HOUR = 3_600_000

let server: TestServer
let run: string

beforeEach(async () => {
  server = new TestServer()
  await server.start()
  run = await server.newModel(await server.newSession())
})
afterEach(async () => {
  sinon.restore()
  await server.stop()
})

const saved = (name = 'x') => ({ run, kind: 'external_weights', name })

async function saveExternal(name = 'x'): Promise<Json> {
  const { path } = await server.result('saveWeightsExternal', { body: { model_id: run, path: name } })
  expect(path).toBe(`tinker://${run}/external_weights/${name}`)
  return server.call('getExternalWeightsUrls', { params: saved(name) })
}
const get = (url: string, headers: Record<string, string> = {}) => fetch(url, { headers, redirect: 'manual' })
const text = async (url: string, headers?: Record<string, string>) => (await get(url, headers)).text()
const codeOf = async (url: string) => {
  const answer = await get(url)
  const body = (await answer.json()) as Json
  return `${answer.status} ${body.code}`
}

describe('external weights', () => {
  it('come by addresses that need no key, with size and checksum', async () => {
    const { urls, expires } = await saveExternal()
    expect(Object.keys(urls).sort()).toEqual(['adapter_config.json', 'fake_weights.json'])
    expect(Date.parse(expires) - Date.now()).toBeGreaterThan(10 * 60_000)
    const answer = await get(urls['adapter_config.json'])
    const bytes = Buffer.from(await answer.arrayBuffer())
    expect(answer.status).toBe(200)
    expect(answer.headers.get('content-length')).toBe(String(bytes.length))
    const sum = createHash('sha256').update(bytes).digest('base64')
    expect(answer.headers.get('repr-digest')).toBe(`sha-256=:${sum}:`)
    expect(JSON.parse(bytes.toString())).toMatchObject({ peft_type: 'LORA', r: 4 })
  })

  it('are listed as external, and are saved and asked for by their owner only', async () => {
    await saveExternal()
    const { checkpoints } = await server.call('listCheckpoints', { params: { run } })
    expect(checkpoints[0]).toMatchObject({ checkpoint_type: 'external', checkpoint_id: 'external_weights/x' })
    await server.call('saveWeightsExternal', { key: BERT, body: { model_id: run, path: 'y' } }, 404)
    await server.call('getExternalWeightsUrls', { key: BERT, params: saved() }, 404)
    await server.call('getCheckpointArchive', { key: BERT, params: saved() }, 404)
    await server.call('publishCheckpoint', { params: saved() })
    const { urls } = await server.call('getExternalWeightsUrls', { key: BERT, params: saved() })
    expect((await get(urls['adapter_config.json'])).status).toBe(200)
  })

  it('are not listed for SDKs before 0.28, which cannot read the word', async () => {
    await saveExternal()
    const listed = async (version: string) => {
      const headers = { 'x-stainless-package-version': version }
      const page = await server.call('listUserCheckpoints', { headers })
      const { checkpoints } = await server.call('listCheckpoints', { params: { run }, headers })
      return [page.checkpoints.length, page.cursor.total_count, checkpoints.length]
    }
    expect(await listed('0.24.1')).toEqual([0, 0, 0])
    expect(await listed('0.28.0')).toEqual([1, 1, 1])
  })

  it('are refused with encryption, by the name of the field', async () => {
    const body = { model_id: run, path: 'x', age_encryption_recipients: ['age1xyz'] }
    expect((await server.call('saveWeightsExternal', { body }, 400)).detail).toContain('age_encryption_recipients')
  })

  it('keep the optimiser at home: a training checkpoint has addresses for its adapter only', async () => {
    await server.save(run, 'a')
    const { urls } = await server.call('getExternalWeightsUrls', { params: { run, kind: 'weights', name: 'a' } })
    expect(Object.keys(urls).sort()).toEqual(['adapter_config.json', 'fake_weights.json'])
  })
})

describe('an address', () => {
  let url: string
  beforeEach(async () => {
    url = (await saveExternal()).urls['adapter_config.json']
  })

  it('is for one file, one checkpoint and one hour', async () => {
    const refused = '403 DOWNLOAD_REFUSED'
    expect(await codeOf(url.replace('adapter_config', 'fake_weights'))).toBe(refused)
    expect(await codeOf(url.replace(/downloads\/\d+/, 'downloads/9'))).toBe(refused)
    expect(await codeOf(url.replace(/expires=(\d)/, 'expires=9$1'))).toBe(refused)
    expect(await codeOf(url.replace(/signature=./, 'signature=é'))).toBe(refused)
    expect(await codeOf(url.replace(/signature=.*/, 'signature='))).toBe(refused)
    expect((await get(url.replace('adapter_config.json', '..%2f..%2ftwinkle.db'))).status).toBe(403)
    expect((await get(url.split('?')[0] as string)).status).toBe(400)
    const later = Date.now() + HOUR
    sinon.stub(Date, 'now').returns(later)
    expect(await codeOf(url)).toBe(refused)
  })

  it('outlives a restart, and ends with its checkpoint', async () => {
    await server.restart()
    const moved = url.replace(/^http:\/\/[^/]+/, server.url)
    expect((await get(moved)).status).toBe(200)
    await server.call('deleteCheckpoint', { params: saved() })
    expect(await codeOf(moved)).toBe('404 DOWNLOAD_GONE')
    expect(statSync(join(server.stateDir, 'download-secret')).mode & 0o777).toBe(0o600)
  })

  it('gives parts, which add up to the whole', async () => {
    const whole = await text(url)
    const part = await get(url, { range: 'bytes=5-9' })
    expect(part.status).toBe(206)
    expect(part.headers.get('content-range')).toBe(`bytes 5-9/${whole.length}`)
    expect(await part.text()).toBe(whole.slice(5, 10))
    expect((await text(url, { range: 'bytes=0-6' })) + (await text(url, { range: 'bytes=7-' }))).toBe(whole)
    expect(await text(url, { range: 'bytes=-4' })).toBe(whole.slice(-4))
    const beyond = await get(url, { range: `bytes=${whole.length}-` })
    expect([beyond.status, beyond.headers.get('content-range')]).toEqual([416, `bytes */${whole.length}`])
    expect((await get(url, { range: 'bytes=5-9', 'if-range': '"other"' })).status).toBe(200)
    const { etag = '' } = Object.fromEntries((await get(url)).headers)
    expect((await get(url, { range: 'bytes=5-9', 'if-range': etag })).status).toBe(206)
    const head = await fetch(url, { method: 'HEAD' })
    expect([head.status, head.headers.get('content-length')]).toEqual([200, String(whole.length)])
  })
})

describe('the archive of the older SDKs', () => {
  it('is a redirect to one tar file, in whole or in parts', async () => {
    await server.saveForSampler(run, 's')
    const params = { run, kind: 'sampler_weights', name: 's' }
    const answer = await server.send('getCheckpointArchive', { params })
    expect(answer.status).toBe(302)
    const location = answer.headers.get('location') as string
    expect(((await answer.json()) as Json).url).toBe(location)
    expect(Date.parse(answer.headers.get('expires') as string)).toBeGreaterThan(Date.now() + 10 * 60_000)
    const whole = Buffer.from(await (await get(location)).arrayBuffer())
    const tar = join(server.stateDir, 'a.tar')
    writeFileSync(tar, whole)
    const listing = execFileSync('tar', ['-tf', tar], { encoding: 'utf8' }).trim().split('\n')
    expect(listing).toEqual(['adapter_config.json', 'fake_weights.json', 'checkpoint_complete'])
    const config = execFileSync('tar', ['-xOf', tar, 'adapter_config.json'], { encoding: 'utf8' })
    expect(JSON.parse(config)).toMatchObject({ r: 4 })
    const part = await get(location, { range: 'bytes=500-1100' })
    expect(Buffer.from(await part.arrayBuffer())).toEqual(whole.subarray(500, 1101))
  })
})
