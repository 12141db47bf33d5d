// The routes that serve signed addresses: whole files or a range of one, streamed, with their checksum; and traces. Whoever
// holds the address may read.

import type { IncomingHttpHeaders } from 'node:http'
import { Readable } from 'node:stream'
import { serviceError } from './errors.ts'
import { byteRange } from './http/byte-range.ts'
import type { Handlers, JsonResult, StreamResult } from './http/router.ts'
import type { Download } from './services/downloads.ts'
import type { Services } from './services/services.ts'

type Parts = Pick<Services, 'downloads' | 'addresses' | 'traces'>

export function downloadHandlers({ downloads, addresses, traces }: Parts): Handlers<'downloadFile' | 'downloadTrace'> {
  return {
    downloadTrace: async ({ params, query }) => {
      addresses.check(['traces', params.session_id], query)
      return { json: await traces.of(params.session_id) }
    },
    downloadFile: async ({ params, query, request }) =>
      sendDownload(await downloads.open(params.checkpoint, params.file, query), params.file, request),
  }
}

/** The whole file or the range of it that was asked for, with what clients need to go on after a break. */
export function sendDownload(
  download: Download,
  file: string,
  { headers }: { readonly headers: IncomingHttpHeaders },
): StreamResult | JsonResult {
  const etag = `"${download.tag}"`
  const { range: wanted, 'if-range': condition } = headers
  const range = condition === undefined || condition === etag ? byteRange(wanted, download.bytes) : null
  if (range === 'unsatisfiable') return unsatisfiable(download)
  const { start, end } = range ?? { start: 0, end: download.bytes }
  return {
    status: range ? 206 : 200,
    contentType: 'application/octet-stream',
    stream: Readable.from(download.read(start, end), { objectMode: false }),
    bytes: end - start,
    headers: {
      etag,
      'accept-ranges': 'bytes',
      'cache-control': 'private',
      'content-disposition': `attachment; filename="${file.replace(/[^\w.-]/g, '_')}"`,
      ...(range && { 'content-range': `bytes ${start}-${end - 1}/${download.bytes}` }),
      // Of the whole file, also where a part of it is sent (RFC 9530).
      ...(download.sha256 && {
        'repr-digest': `sha-256=:${Buffer.from(download.sha256, 'hex').toString('base64')}:`,
      }),
    },
  }
}

function unsatisfiable({ bytes }: Download): JsonResult {
  const { status, code, message } = serviceError('RANGE_NOT_SATISFIABLE', { bytes })
  return { status, json: { detail: message, code }, headers: { 'content-range': `bytes */${bytes}` } }
}
