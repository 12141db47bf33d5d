// `npm run fuzz [-- --requests N --seed S]`: sends N hostile requests, made from our own schemas, to every operation of a real
// server, and says whether it held: no crash, no 5xx, no hang, memory flat, and every good request in between answered.

import { parseArgs } from 'node:util'
import { runCampaign, type Verdict } from './fuzz/campaign.ts'

const { values } = parseArgs({ options: { requests: { type: 'string' }, seed: { type: 'string' } } })
const requests = whole('requests', values.requests ?? '20000')
const seed = whole('seed', values.seed ?? '1')
const started = performance.now()
const verdict = await runCampaign({ requests, seed, log: (line) => console.log(line) })
console.log(report(verdict))
process.exitCode = verdict.findings.length === 0 ? 0 : 1

function report({ sent, statuses, reached, missed, memory, findings }: Verdict): string {
  const minutes = ((performance.now() - started) / 60_000).toFixed(1)
  const counts = Object.entries(statuses).map(([status, count]) => `${status}: ${count}`)
  return [
    '',
    `${sent} requests with seed ${seed} in ${minutes} minutes; answers ${counts.join(', ')}`,
    `${reached.length} operations carried requests out; only refused: ${missed.join(', ') || 'none'}`,
    `memory of the server and its engine: ${memory[0]} MiB after the first round, at most ${Math.max(...memory)}, ${memory.at(-1)} at the end`,
    findings.length === 0 ? 'Verdict: it held.' : `Verdict: it did not hold. ${findings.at(-1)}`,
  ].join('\n')
}

function whole(name: string, value: string): number {
  const number = Number(value)
  if (Number.isInteger(number) && number > 0) return number
  console.error(`Error: --${name} is a whole number from 1, not ${value}.`)
  process.exit(2)
}
