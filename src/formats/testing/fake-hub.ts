/**
 * Test helper: a hub on loopback. Small files are answered directly with git checksums, .safetensors and .gguf files by a
 * redirection to a second server (another origin, as the real storage is) with SHA-256 checksums.
 */
import { createHash } from 'node:crypto'
import * as http from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll } from 'vitest'

export const COMMIT = 'c'.repeat(40)

export interface SeenRequest {
  readonly server: 'hub' | 'storage'
  readonly method: string
  readonly path: string
  readonly range: string | undefined
  readonly authorization: string | undefined
}

export interface FakeHub {
  readonly endpoint: string
  readonly files: Map<string, Buffer>
  readonly requests: SeenRequest[]
  /** Looks at a request before it is answered; true: it has answered itself. */
  intercept: (seen: SeenRequest, response: http.ServerResponse) => boolean
  close(): Promise<void>
}

const open: FakeHub[] = []
afterAll(async () => {
  await Promise.all(open.map((hub) => hub.close()))
})

export async function startFakeHub(files: Record<string, string | Buffer>): Promise<FakeHub> {
  const hubServer = http.createServer((request, response) => answer('hub', request, response))
  const storage = http.createServer((request, response) => answer('storage', request, response))
  const [endpoint, storageUrl] = await Promise.all([listen(hubServer), listen(storage)])
  const hub: FakeHub = {
    endpoint,
    files: new Map(Object.entries(files).map(([name, data]) => [name, Buffer.from(data)])),
    requests: [],
    intercept: () => false,
    close: async () => void (await Promise.all([shut(hubServer), shut(storage)])),
  }
  open.push(hub)
  return hub

  function answer(server: 'hub' | 'storage', request: http.IncomingMessage, response: http.ServerResponse): void {
    const { range, authorization } = request.headers
    const seen = { server, method: request.method ?? '', path: request.url ?? '', range, authorization }
    hub.requests.push(seen)
    if (hub.intercept(seen, response)) return
    if (seen.path.startsWith('/api/models/org/name/revision/')) {
      list(response)
      return
    }
    const name = seen.path.replace(`/org/name/resolve/${COMMIT}/`, '').replace(/^\//, '')
    const data = hub.files.get(name)
    if (!data) return void response.writeHead(404).end()
    const large = /\.(safetensors|gguf)$/.test(name)
    if (large && server === 'hub') {
      const headers = {
        'x-linked-etag': `"${sha256(data)}"`,
        'x-linked-size': data.length,
        location: `${storageUrl}/${name}`,
      }
      return void response.writeHead(302, headers).end('moved')
    }
    sendFile(data, seen, response)
  }

  function list(response: http.ServerResponse): void {
    const siblings = [...hub.files.keys()].map((rfilename) => ({ rfilename }))
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ sha: COMMIT, siblings }))
  }
}

/** Answers as the storage does, ranges included; `breakAfter` cuts the connection after so many bytes. */
export function sendFile(data: Buffer, seen: SeenRequest, response: http.ServerResponse, breakAfter?: number): void {
  const start = Number(/bytes=(\d+)-/.exec(seen.range ?? '')?.[1] ?? 0)
  const headers: http.OutgoingHttpHeaders = { etag: `"${gitChecksum(data)}"`, 'content-length': data.length - start }
  if (start > 0) headers['content-range'] = `bytes ${start}-${data.length - 1}/${data.length}`
  response.writeHead(start > 0 ? 206 : 200, headers)
  if (seen.method === 'HEAD') response.end()
  else if (breakAfter === undefined) response.end(data.subarray(start))
  else response.write(data.subarray(start, start + breakAfter), () => response.destroy())
}

export function sha256(data: Buffer): string {
  return createHash('sha256').update(data).digest('hex')
}

function gitChecksum(data: Buffer): string {
  return createHash('sha1').update(`blob ${data.length}\0`).update(data).digest('hex')
}

function listen(server: http.Server): Promise<string> {
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve(`http://127.0.0.1:${(server.address() as AddressInfo).port}`))
  })
}

function shut(server: http.Server): Promise<void> {
  return new Promise((resolve) => {
    server.closeAllConnections()
    server.close(() => resolve())
  })
}
