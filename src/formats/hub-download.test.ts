import * as fs from 'node:fs'
import * as path from 'node:path'
import { describe, expect, it } from 'vitest'
import { type DownloadOptions, type DownloadProgress, downloadModel } from './hub-download.ts'
import { openModelSource } from './model-folder.ts'
import { COMMIT, type FakeHub, sendFile, sha256, startFakeHub } from './testing/fake-hub.ts'
import { temporaryFolder } from './testing/temporary-folder.ts'
import { writeTinyModel } from './testing/tiny-model.ts'

function tinyModelFiles(): Record<string, Buffer> {
  const folder = writeTinyModel()
  return Object.fromEntries(fs.readdirSync(folder).map((name) => [name, fs.readFileSync(path.join(folder, name))]))
}

function machine(hub: FakeHub, env: Record<string, string> = {}) {
  const home = temporaryFolder()
  const notices: string[] = []
  const options: DownloadOptions = {
    env: { HF_HOME: home, HF_ENDPOINT: hub.endpoint, ...env },
    firstRetryMs: 1,
    onNotice: (sentence) => notices.push(sentence),
  }
  const repository = path.join(home, 'hub', 'models--org--name')
  const download = (reference = 'hf:org/name', more: DownloadOptions = {}) =>
    downloadModel(reference, { ...options, ...more })
  return { home, repository, notices, options, download }
}

const MODEL = 'model.safetensors'
const LARGE = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 7919) % 251))
const reads = (hub: FakeHub) => hub.requests.filter(({ method }) => method === 'GET').map(({ path }) => path)

describe('a download', () => {
  it('ends with a folder that opens as a model, and fetches only what a model needs', async () => {
    const hub = await startFakeHub({ ...tinyModelFiles(), 'README.md': 'x', 'pytorch_model.bin': 'x' })
    const folder = await machine(hub).download()
    expect(openModelSource(folder).config.layers).toBe(2)
    expect(fs.readdirSync(folder).sort()).toEqual(['config.json', MODEL, 'tokenizer.json', 'tokenizer_config.json'])
  })

  it("uses the layout of Hugging Face's tools, so that both see the same files", async () => {
    const hub = await startFakeHub(tinyModelFiles())
    const { repository, download } = machine(hub)
    expect(await download()).toBe(path.join(repository, 'snapshots', COMMIT))
    expect(fs.readFileSync(path.join(repository, 'refs/main'), 'utf8')).toBe(COMMIT)
    const blob = sha256(hub.files.get(MODEL) as Buffer)
    expect(fs.readlinkSync(path.join(repository, 'snapshots', COMMIT, MODEL))).toBe(path.join('../../blobs', blob))
  })

  it('fetches nothing again', async () => {
    const hub = await startFakeHub(tinyModelFiles())
    const { download } = machine(hub)
    await download()
    hub.requests.length = 0
    await download()
    expect(reads(hub)).toEqual(['/api/models/org/name/revision/main'])
  })

  it('takes the shards that the index names', async () => {
    const { [MODEL]: whole, ...rest } = tinyModelFiles()
    const index = JSON.stringify({ weight_map: { a: 'one.safetensors', b: 'two.safetensors', c: 'one.safetensors' } })
    const shards = { 'one.safetensors': whole as Buffer, 'two.safetensors': LARGE, 'three.safetensors': 'x' }
    const hub = await startFakeHub({ ...rest, ...shards, 'model.safetensors.index.json': index })
    const folder = await machine(hub).download()
    expect(fs.readFileSync(path.join(folder, 'two.safetensors')).equals(LARGE)).toBe(true)
    expect(fs.existsSync(path.join(folder, 'three.safetensors'))).toBe(false)
  })

  it('takes one .gguf file by name, of a chosen revision', async () => {
    const hub = await startFakeHub({ 'sub/model-q4.gguf': LARGE, 'other.gguf': 'x' })
    const file = await machine(hub).download('hf:org/name@v1.0/sub/model-q4.gguf')
    expect(fs.readFileSync(file).equals(LARGE)).toBe(true)
    expect(reads(hub)[0]).toBe('/api/models/org/name/revision/v1.0')
  })

  it('reports progress in bytes of all files, up to the end', async () => {
    const hub = await startFakeHub(tinyModelFiles())
    const seen: DownloadProgress[] = []
    await machine(hub).download('hf:org/name', { onProgress: (progress) => seen.push(progress) })
    const total = [...hub.files.values()].reduce((sum, data) => sum + data.length, 0)
    expect(seen.at(-1)).toMatchObject({ doneBytes: total, totalBytes: total })
    expect(seen.every(({ doneBytes }, i) => i === 0 || doneBytes >= (seen[i - 1]?.doneBytes ?? 0))).toBe(true)
  })

  it('shows its token to the hub and to nobody else', async () => {
    const hub = await startFakeHub(tinyModelFiles())
    await machine(hub, { HF_TOKEN: 'secret' }).download()
    for (const { server, authorization } of hub.requests) {
      expect(authorization).toBe(server === 'hub' ? 'Bearer secret' : undefined)
    }
    expect(hub.requests.some(({ server }) => server === 'storage')).toBe(true)
  })

  it('finds the token that was saved by a login', async () => {
    const hub = await startFakeHub(tinyModelFiles())
    const { home, download } = machine(hub)
    fs.writeFileSync(path.join(home, 'token'), 'saved\n')
    await download()
    expect(hub.requests[0]?.authorization).toBe('Bearer saved')
  })
})

describe('what goes wrong on the way', () => {
  it('a connection that breaks is taken up where it broke', async () => {
    const hub = await startFakeHub({ 'm.gguf': LARGE })
    let breaks = 2
    hub.intercept = (seen, response) => {
      if (seen.server === 'hub' || breaks === 0) return false
      breaks--
      sendFile(LARGE, seen, response, 100_000)
      return true
    }
    const file = await machine(hub).download('hf:org/name/m.gguf')
    expect(fs.readFileSync(file).equals(LARGE)).toBe(true)
    const ranges = hub.requests.filter(({ server }) => server === 'storage').map(({ range }) => range)
    // How much of the last bytes of a broken connection arrives is the network's choice.
    const starts = ranges.map((range) => Number(/bytes=(\d+)-/.exec(range ?? 'bytes=0-')?.[1]))
    expect(starts.length).toBe(3)
    expect(starts[0]).toBe(0)
    expect(starts[1]).toBeGreaterThan(0)
    expect(starts[2]).toBeGreaterThan(starts[1] as number)
  })

  it('two at once end with the same file', async () => {
    const hub = await startFakeHub({ 'm.gguf': LARGE })
    const { download } = machine(hub)
    const [one, two] = await Promise.all([download('hf:org/name/m.gguf'), download('hf:org/name/m.gguf')])
    expect(one).toBe(two)
    expect(fs.readFileSync(one as string).equals(LARGE)).toBe(true)
  })

  it('a download that was stopped is resumed by the next one', async () => {
    const hub = await startFakeHub({ 'm.gguf': LARGE })
    const { download } = machine(hub)
    const stop = new AbortController()
    hub.intercept = (seen, response) => {
      if (seen.server === 'hub') return false
      response.writeHead(200, { 'content-length': LARGE.length })
      response.write(LARGE.subarray(0, 120_000))
      return true
    }
    const onProgress = ({ doneBytes }: DownloadProgress) => doneBytes >= 120_000 && stop.abort(new Error('stopped'))
    await expect(download('hf:org/name/m.gguf', { signal: stop.signal, onProgress })).rejects.toThrow('stopped')
    hub.intercept = () => false
    hub.requests.length = 0
    const file = await download('hf:org/name/m.gguf')
    expect(fs.readFileSync(file).equals(LARGE)).toBe(true)
    expect(hub.requests.at(-1)?.range).toBe('bytes=120000-')
  })

  it('a storage that knows no ranges starts again, and one that never gets further is given up', async () => {
    const hub = await startFakeHub({ 'm.gguf': LARGE })
    const { download } = machine(hub)
    let tries = 0
    hub.intercept = (seen, response) => {
      if (seen.server === 'hub') return false
      sendFile(LARGE, { ...seen, range: undefined }, response, ++tries < 100 ? 50_000 : undefined)
      return true
    }
    await expect(download('hf:org/name/m.gguf')).rejects.toThrow(/cannot be reached \(/)
    expect(tries).toBeLessThan(30)
    tries = 100
    expect(fs.readFileSync(await download('hf:org/name/m.gguf')).equals(LARGE)).toBe(true)
  })

  it('damaged bytes are found, removed, and fetched anew by the next download', async () => {
    const hub = await startFakeHub({ 'm.gguf': LARGE })
    const { download, repository } = machine(hub)
    hub.intercept = (seen, response) => {
      if (seen.server === 'hub') return false
      sendFile(Buffer.alloc(LARGE.length, 1), seen, response)
      return true
    }
    await expect(download('hf:org/name/m.gguf')).rejects.toThrow(/m.gguf arrived damaged \(checksum .*, expected .*\)/)
    expect(fs.readdirSync(path.join(repository, 'blobs'))).toEqual([])
    hub.intercept = () => false
    expect(fs.readFileSync(await download('hf:org/name/m.gguf')).equals(LARGE)).toBe(true)
  })

  it('small files are checked as well', async () => {
    const hub = await startFakeHub(tinyModelFiles())
    hub.intercept = (seen, response) => {
      if (seen.method !== 'GET' || !seen.path.endsWith('/config.json')) return false
      response.end(Buffer.alloc(hub.files.get('config.json')?.length ?? 0, 0x20))
      return true
    }
    await expect(machine(hub).download()).rejects.toThrow(/config.json arrived damaged/)
  })

  it('a busy hub is asked again', async () => {
    const hub = await startFakeHub(tinyModelFiles())
    let busy = 2
    hub.intercept = (_, response) => {
      if (busy === 0) return false
      response.writeHead(busy-- === 2 ? 429 : 503).end()
      return true
    }
    expect(openModelSource(await machine(hub).download()).kind).toBe('folder')
  })

  it('a mirror without checksums is used, and that is said', async () => {
    const hub = await startFakeHub({ 'm.gguf': LARGE })
    hub.intercept = (seen, response) => {
      if (seen.method !== 'HEAD') return false
      response.writeHead(200, { etag: 'W/"../../evil"', 'content-length': LARGE.length }).end()
      return true
    }
    const { download, notices, repository } = machine(hub)
    expect(fs.readFileSync(await download('hf:org/name/m.gguf')).equals(LARGE)).toBe(true)
    expect(notices[0]).toMatch(/gives no checksum for m.gguf: only its size was checked/)
    expect(fs.readdirSync(path.join(repository, 'blobs'))).toEqual([expect.stringMatching(/^etag-[0-9a-f]{64}$/)])
  })
})

describe('without the hub', () => {
  it('what was downloaded before is used: silently when told to, with a notice when it cannot be reached', async () => {
    const hub = await startFakeHub(tinyModelFiles())
    const { download, options, notices } = machine(hub)
    const folder = await download()
    await hub.close()
    expect(await download('hf:org/name', { env: { ...options.env, HF_HUB_OFFLINE: '1' } })).toBe(folder)
    expect(notices).toEqual([])
    expect(await download()).toBe(folder)
    expect(notices[0]).toMatch(/cannot be reached .*; using org\/name as it was downloaded before/)
  })

  it('half a model is none', async () => {
    const hub = await startFakeHub(tinyModelFiles())
    const { download } = machine(hub)
    const folder = await download()
    fs.rmSync(path.join(folder, MODEL))
    await hub.close()
    await expect(download()).rejects.toThrow(/org\/name is not downloaded completely, and .* cannot be reached/)
  })
})

describe('what cannot be had is said in words', () => {
  const only = (files: Record<string, string>) => startFakeHub(files)

  it.each([
    [
      'no safetensors, but .gguf',
      { 'a.gguf': 'x', 'b.gguf': 'x' },
      'hf:org/name',
      /has no safetensors weights; name one of its .gguf files: hf:org\/name\/a.gguf, b.gguf/,
    ],
    [
      'no weights',
      { 'config.json': '{}' },
      'hf:org/name',
      /has no safetensors weights; only safetensors and .gguf are read/,
    ],
    [
      'a .gguf that is not there',
      { 'a.gguf': 'x' },
      'hf:org/name/z.gguf',
      /org\/name has no z.gguf; its .gguf files: a.gguf/,
    ],
    [
      'an index with a path in it',
      { 'model.safetensors.index.json': '{"weight_map":{"a":"../x.safetensors"}}' },
      'hf:org/name',
      /names the shard "\.\.\/x.safetensors"/,
    ],
    ['a reference of another form', {}, 'hf:name', /"hf:name" names no model; the form is hf:org\/name/],
    ['a reference that climbs', {}, 'hf:org/name/../x.gguf', /names a file other than a .gguf/],
    ['dots for a name', {}, 'hf:../..', /names no model/],
  ])('%s', async (_, files, reference, message) => {
    await expect(machine(await only(files as Record<string, string>)).download(reference)).rejects.toThrow(message)
  })

  it.each([
    [404, /has no model org\/name at revision main/],
    [401, /refuses model org\/name at revision main \(401 .*it may need a token: set HF_TOKEN/],
    [400, /answers 400/],
  ])('a hub that answers %i', async (status, message) => {
    const hub = await only({})
    hub.intercept = (_, response) => Boolean(response.writeHead(status).end())
    await expect(machine(hub).download()).rejects.toThrow(message)
  })

  it('a server that is no hub', async () => {
    const hub = await only({})
    hub.intercept = (_, response) => Boolean(response.end('{}'))
    await expect(machine(hub).download()).rejects.toThrow(/does not answer as a model hub does; is HF_ENDPOINT right/)
  })
})
