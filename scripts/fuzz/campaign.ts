// A campaign against one real server: rounds of hostile requests, after each a good one, and a look at processes and memory.
// It says what it found; a finding carries the request, so that it can be sent again.

import { readdirSync, readFileSync } from 'node:fs'
import fc from 'fast-check'
import { problemWithAnswer } from '../../openapi/answers.ts'
import { startServerProcess } from '../../openapi/conformance/server-process.ts'
import { type Operation, type OperationId, operations } from '../../src/generated/operations.ts'
import { readTargets } from './documents.ts'
import { type Ending, Sender } from './exchange.ts'
import { type HostileRequest, hostileRequests } from './requests.ts'
import { Bystander, furnish } from './world.ts'

const KEYS = { good: 'tml-fuzz', other: 'tml-neighbour' }
const BYSTANDER = 'tml-bystander'
const ROUND = 400
const CONNECTIONS = 8
const MOST_FINDINGS = 20
const FLAGS = [
  '--hold-seconds',
  '1',
  '--session-timeout-seconds',
  '86400',
  '--body-limit-bytes',
  String(2 ** 20),
  '--log-level',
  'error',
]
/** Growth between the second quarter of a campaign and its last that counts as flat. */
const GROWTH = 1.15

export interface Verdict {
  readonly sent: number
  readonly statuses: Readonly<Record<string, number>>
  /** Operations of which at least one request was carried out, and those of which none was. */
  readonly reached: readonly string[]
  readonly missed: readonly string[]
  /** MiB of the server with its engines, after each round. */
  readonly memory: readonly number[]
  readonly findings: readonly string[]
}

export async function runCampaign({ requests = 4000, seed = 1, log = (_line: string) => {} } = {}): Promise<Verdict> {
  const server = await startServerProcess({ keys: [KEYS.good, KEYS.other, BYSTANDER], flags: FLAGS })
  const sender = new Sender(server.url, CONNECTIONS)
  const findings: string[] = []
  const statuses: Record<string, number> = {}
  const reached = new Set<string>()
  const memory: number[] = []
  let sent = 0
  try {
    const targets = readTargets()
    const bystander = await Bystander.arrive(server.url, BYSTANDER)
    const engines = childrenOf(server.pid)
    for (let round = 0; sent < requests && findings.length < MOST_FINDINGS; round++) {
      const { pool, end } = await furnish(server.url, KEYS)
      const numRuns = Math.min(ROUND, requests - sent)
      const batch = fc.sample(hostileRequests(targets, pool, KEYS), { seed: seed * 1_000_003 + round, numRuns })
      await eachOf(batch, async (request) => {
        const ending = await sender.send(request)
        const status = ending.failure ?? String(ending.status)
        statuses[status] = (statuses[status] ?? 0) + 1
        if (ending.status >= 200 && ending.status < 400) reached.add(request.operation)
        const problem = problemWith(request, ending)
        if (!problem) return
        findings.push(`${problem}\n${describe(request, ending)}`)
        log(`FOUND: ${findings.at(-1)}`)
      })
      sent += batch.length
      const complaint = await bystander.complaint()
      if (complaint) findings.push(`round ${round}: a good request did not get its answer: ${complaint}`)
      if (childrenOf(server.pid).join() !== engines.join()) findings.push(`round ${round}: an engine died`)
      await end()
      memory.push(residentMiB([server.pid, ...childrenOf(server.pid)]))
      log(`${sent} requests, ${memory.at(-1)} MiB, ${findings.length} findings`)
    }
    if (!isFlat(memory)) findings.push(`memory grew: ${memory.join(', ')} MiB`)
    if (findings.length > 0) findings.push(`the server logged:\n${failuresIn(server.output()).slice(-10).join('\n')}`)
    const missed = targets.map(({ id }) => id).filter((id) => !reached.has(id))
    return { sent, statuses, reached: [...reached], missed, memory, findings: findings.slice(0, MOST_FINDINGS + 2) }
  } finally {
    sender.close()
    await server.stop()
  }
}

/** Eight at a time, in order of the list. */
async function eachOf<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const left = items.values()
  await Promise.all(
    Array.from({ length: CONNECTIONS }, async () => {
      for (const item of left) await work(item)
    }),
  )
}

/** The path of a run's checkpoints, whose id is one segment. */
const OF_A_RUN = /^\/api\/v1\/models\/[^/?]*\/checkpoints(\?|$)/

/** Why an answer is none that a server may give; null when it is. */
function problemWith(
  { operation, method, path }: HostileRequest,
  { status, type, body, failure }: Ending,
): string | null {
  if (failure !== null) return `no answer: ${failure}`
  // Deep health says 503 when the machine cannot follow; a busy one may.
  if (status >= 500 && !(operation === 'health' && status === 503)) return `status ${status}`
  if (!type.includes('json') || method === 'HEAD') return null
  const answer = JSON.parse(body.toString())
  // A path that leads to no operation is answered by none.
  if (answer?.code === 'NOT_FOUND') return null
  const asked = operation as OperationId
  // An id with slashes in it may make it the path of a model, whose name may have some.
  const isModel = asked === 'listModelCheckpoints' && !OF_A_RUN.test(path)
  const id = isModel ? 'retrieveModel' : asked
  // A file that happens to be JSON: the document does not say what is in it.
  const { responseMedia }: Operation = operations[id]
  if (status < 400 && !responseMedia.includes('application/json')) return null
  return problemWithAnswer(id, status, answer) ?? null
}

function describe({ operation, method, path, headers, body }: HostileRequest, ending: Ending): string {
  const shown = (bytes: Buffer) => `${bytes.length} bytes: ${JSON.stringify(bytes.toString('latin1').slice(0, 600))}`
  return [
    `  ${operation}: ${method} ${path.slice(0, 400)}`,
    `  headers ${JSON.stringify(headers).slice(0, 400)}`,
    ...(body ? [`  body ${shown(body)}`] : []),
    `  answer ${ending.status} ${shown(ending.body)}`,
  ].join('\n')
}

/** What it logged of errors of its own, without what it answered with 4xx. */
function failuresIn(log: string): string[] {
  return log.split('\n').filter((line) => line !== '' && !/"status":4\d\d/.test(line))
}

function isFlat(memory: readonly number[]): boolean {
  const quarter = Math.floor(memory.length / 4)
  if (quarter < 2) return true
  const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[values.length >> 1] as number
  return median(memory.slice(-quarter)) <= GROWTH * median(memory.slice(quarter, 2 * quarter))
}

/** Pids of the engines: Linux says in /proc; elsewhere none are found. */
function childrenOf(pid: number): number[] {
  const parentOf = (child: string) => {
    try {
      return Number(readFileSync(`/proc/${child}/stat`, 'utf8').replace(/.*\) /s, '').split(' ')[1])
    } catch {
      return Number.NaN // it ended meanwhile
    }
  }
  if (process.platform !== 'linux') return []
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && parentOf(name) === pid)
    .map(Number)
}

function residentMiB(pids: readonly number[]): number {
  if (process.platform !== 'linux') return 0
  const kilobytes = pids.map((pid) =>
    Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0),
  )
  return Math.round(kilobytes.reduce((sum, each) => sum + each, 0) / 1024)
}
