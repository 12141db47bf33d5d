// Tells a server every ten seconds that a session's client is alive. One that is lost is followed by the next; two minutes
// without one are worth a warning; 410 says that the session is over, and ends it.

import { StatusError } from './errors.ts'
import type { Http } from './http.ts'
import { NEVER } from './retry.ts'
import { repeat } from './timing.ts'

const PERIOD_MS = 10_000
const WARN_AFTER_MS = 120_000

/** Returns what ends it. */
export function startHeartbeat(http: Http, sessionId: string, warn: (message: string) => void): () => void {
  let lastAnswer = Date.now()
  const stop = repeat(PERIOD_MS, async () => {
    const body = { session_id: sessionId, type: 'session_heartbeat' }
    try {
      await http.send('sessionHeartbeat', { body, retry: NEVER, timeoutMs: PERIOD_MS })
      lastAnswer = Date.now()
    } catch (error) {
      if (error instanceof StatusError && error.status === 410) return stop()
      const seconds = Math.round((Date.now() - lastAnswer) / 1000)
      if (seconds * 1000 < WARN_AFTER_MS) return
      warn(
        `No heartbeat of session ${sessionId} got through for ${seconds} s (${(error as Error).message}). The server ends sessions that it does not hear from; the client goes on trying.`,
      )
    }
  })
  return stop
}
