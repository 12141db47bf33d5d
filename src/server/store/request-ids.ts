// Ids of requests: `req-` and a UUID of version 7 (RFC 9562), so that those of one process sort in the order of their
// arrival, also within a millisecond. 62 bits are random.

import { randomBytes } from 'node:crypto'

/** Ids of one millisecond; beyond them the next one begins. */
const PER_MS = 4096

let ms = 0
let count = 0

/** @param now Milliseconds since 1970. */
export function newRequestId(now: number): string {
  count = now > ms ? 0 : count + 1
  ms = Math.max(ms + Math.floor(count / PER_MS), now)
  count %= PER_MS
  const time = ms.toString(16).padStart(12, '0')
  const random = randomBytes(8)
  random[0] = ((random[0] as number) & 0x3f) | 0x80
  const tail = random.toString('hex')
  const version = `7${count.toString(16).padStart(3, '0')}`
  return `req-${time.slice(0, 8)}-${time.slice(8)}-${version}-${tail.slice(0, 4)}-${tail.slice(4)}`
}
