// Decodes gzip bodies, up to a cap, off the event loop.

import { gunzip } from 'node:zlib'
import { serviceError } from '../errors.ts'

export function decodeGzip(bytes: Uint8Array, maxBytes: number): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    gunzip(bytes, { maxOutputLength: maxBytes }, (error, decoded) => {
      if (!error) resolve(decoded)
      else if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') {
        reject(serviceError('DECODED_BODY_TOO_LARGE', { encoding: 'gzip', limit: maxBytes }))
      } else reject(serviceError('MALFORMED_GZIP', { problem: error.message }, { cause: error }))
    })
  })
}
