// `npm run bench [-- engine | service | journal | soak [--operations N] | prefix [--model NAME=REF]]`: figures of this machine, as Markdown: medians with their
// spread. Absolute times are of this machine in this hour; what can be compared is printed as a ratio of interleaved runs.

import { availableParallelism, cpus } from 'node:os'
import { parseArgs } from 'node:util'
import { benchEngine } from './bench/engine.ts'
import { benchJournal } from './bench/journal.ts'
import { benchPrefix } from './bench/prefix.ts'
import { benchService } from './bench/service.ts'
import { benchSoak } from './bench/soak.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { operations: { type: 'string', default: '100000' }, model: { type: 'string' } },
})
const print = (text: string) => void process.stdout.write(`\n${text}\n`)
const BENCHES: Readonly<Record<string, () => Promise<void>>> = {
  engine: () => benchEngine(print),
  service: () => benchService(print),
  journal: () => benchJournal(print),
  prefix: () => benchPrefix(values.model, print),
  soak: () => benchSoak(wholeOf('operations', values.operations), print),
}

const names = positionals.length ? positionals : ['engine']
const unknown = names.find((name) => !Object.hasOwn(BENCHES, name))
if (unknown !== undefined) fail(`there is no bench ${unknown}; there are ${Object.keys(BENCHES).join(', ')}`)
process.stdout.write(
  `${cpus()[0]?.model ?? 'unknown processor'}, ${availableParallelism()} cores, Node ${process.versions.node}\n`,
)
for (const name of names) await BENCHES[name]?.()

function wholeOf(name: string, text: string): number {
  const number = Number(text)
  return Number.isInteger(number) && number > 0 ? number : fail(`--${name} is a whole number from 1, not ${text}`)
}

function fail(sentence: string): never {
  console.error(`Error: ${sentence}.`)
  process.exit(2)
}
