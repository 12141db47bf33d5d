// How datums look in a terminal: one row a token, with what stands beside it, and a mark where something is wrong. Text from
// outside is quoted, so that it can neither hide its spaces nor steer the terminal.

import type { Vocabulary } from '../formats/vocabulary.ts'
import type { Finding } from '../server/datums/datum-review.ts'
import type { Column, ShownData, ShownDatum } from '../server/datums/shown-datum.ts'
import { table } from './table.ts'

export interface View {
  readonly vocabulary: Vocabulary | null
  /** Rows of one datum at most; what is left out is said. */
  readonly rows: number
  /** Datums at most. */
  readonly datums: number
  /** Only this one. */
  readonly only: number | null
}

/** Columns in the order of the way of a token: what goes in, what should come out, what it counts. */
const ORDER = ['target_tokens', 'weights', 'logprobs', 'advantages']

export function datumText(data: ShownData, findings: readonly Finding[], view: View): string {
  const shown = view.only === null ? data.datums.slice(0, view.datums) : [data.datums[view.only]!]
  const first = view.only ?? 0
  const parts = shown.map((datum, i) => onePart(data.datums.length, first + i, datum, findings, view))
  const left = data.datums.length - first - shown.length
  if (view.only === null && left > 0) parts.push(`... and ${left} datums more (--datum N shows one, --datums N more)`)
  return [summary(data, findings, view), ...parts].join('\n\n')
}

function summary({ source, loss, datums }: ShownData, findings: readonly Finding[], view: View): string {
  const tokens = datums.reduce((sum, datum) => sum + datum.tokens.length, 0)
  const what = `${harmless(source)}: ${datums.length} datums, ${tokens} tokens${loss === null ? '' : `, loss ${harmless(loss)}`}`
  const notes = view.vocabulary ? [] : ['no text: --model NAME says which tokenizer made the tokens']
  const batch = findings.filter(({ datum }) => datum === null).map(line)
  return [what, ...notes, ...counted(findings), ...batch].join('\n')
}

/** Each check once, with the datums that it marks. */
function counted(findings: readonly Finding[]): string[] {
  if (!findings.length) return ['nothing of what is commonly wrong was found']
  return [...new Set(findings.map(({ check }) => check))].map((check) => {
    const all = findings.filter((finding) => finding.check === check)
    const datums = [...new Set(all.map(({ datum }) => datum))]
    const named = `datum ${datums.slice(0, 5).join(', ')}${datums.length > 5 ? `, ... (${datums.length})` : ''}`
    return `${sign(all[0]!)} ${check} in ${datums.includes(null) ? 'the batch' : named}`
  })
}

function onePart(total: number, index: number, datum: ShownDatum, findings: readonly Finding[], view: View): string {
  const own = findings.filter((finding) => finding.datum === index)
  const marks = new Map<number, Finding[]>()
  for (const finding of own) {
    if (finding.position !== null) marks.set(finding.position, [...(marks.get(finding.position) ?? []), finding])
  }
  const names = columnNames(datum)
  const header = [
    '',
    '#',
    'TOKEN',
    ...(view.vocabulary ? ['TEXT'] : []),
    ...names.flatMap((name) => titles(name, view)),
  ]
  const positions = visible(length(datum), [...marks.keys()], view.rows)
  const rows = positions.map((at) => (at === null ? ['', '...'] : row(datum, at, names, marks.get(at) ?? [], view)))
  const title = `datum ${index} of ${total}, ${datum.tokens.length} tokens`
  return [title, ...own.map(line), table(header, rows)].join('\n')
}

const sign = ({ severity }: Pick<Finding, 'severity'>) => (severity === 'wrong' ? '!!' : ' ?')
const line = (finding: Finding) =>
  `${sign(finding)} ${finding.check}${finding.position === null ? '' : ` at #${finding.position}`}: ${harmless(finding.says)}`

function columnNames({ inputs, computed }: ShownDatum): string[] {
  const rest = Object.keys(inputs).filter((name) => !ORDER.includes(name))
  return [...ORDER.filter((name) => name in inputs), ...rest, ...(computed ? ['computed'] : [])]
}

function titles(name: string, { vocabulary }: View): string[] {
  if (name === 'target_tokens') return vocabulary ? ['TARGET', 'TEXT'] : ['TARGET']
  return [name === 'computed' ? 'MODEL SAID' : harmless(name.toUpperCase())]
}

function length({ tokens, inputs }: ShownDatum): number {
  return Math.max(tokens.length, ...Object.values(inputs).map(({ values, width }) => Math.ceil(values.length / width)))
}

function row(datum: ShownDatum, at: number, names: string[], marks: readonly Finding[], view: View): string[] {
  const token = datum.tokens[at]
  const text = view.vocabulary ? [token === undefined ? '' : quoted(view.vocabulary, token)] : []
  const cells = names.flatMap((name) => {
    const column = name === 'computed' ? datum.computed : datum.inputs[name]
    return name === 'target_tokens' ? targetCells(column!, at, view) : [numbers(column!, at)]
  })
  return [marks.length ? sign(marks[0]!) : '', String(at), token === undefined ? '-' : String(token), ...text, ...cells]
}

function targetCells(column: Column, at: number, { vocabulary }: View): string[] {
  const targets = cellsOf(column, at)
  const ids = targets.length ? shortened(targets.map(String)) : '-'
  if (!vocabulary) return [ids]
  return [ids, shortened(targets.map((target) => quoted(vocabulary, target)))]
}

function numbers(column: Column, at: number): string {
  const cells = cellsOf(column, at)
  return cells.length
    ? shortened(cells.map((value) => (Number.isInteger(value) ? String(value) : value.toFixed(4))))
    : '-'
}

const cellsOf = ({ values, width }: Column, at: number): number[] =>
  Array.from({ length: Math.max(0, Math.min(width, values.length - at * width)) }, (_, k) => values[at * width + k]!)

const MOST_CELLS = 4
const shortened = (cells: readonly string[]) =>
  cells.length <= MOST_CELLS ? cells.join(' ') : `${cells.slice(0, MOST_CELLS).join(' ')} +${cells.length - MOST_CELLS}`

/** Special tokens as they are written, text in quotes. */
export function quoted(vocabulary: Vocabulary, id: number): string {
  if (!Number.isInteger(id) || id < 0 || id >= vocabulary.size) return '(none)'
  return harmless(vocabulary.special.get(id) ?? JSON.stringify(vocabulary.textOf(id)))
}

/** Control characters and invisible ones as escapes. */
function harmless(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, (c) => `\\u${c.codePointAt(0)!.toString(16).padStart(4, '0')}`)
}

/** All positions, or the beginning, the end and what is around marks; null where some are left out. */
function visible(count: number, marked: readonly number[], most: number): (number | null)[] {
  if (count <= most) return Array.from({ length: count }, (_, i) => i)
  const keep = new Set<number>()
  const room = Math.max(1, Math.floor(most / (2 + marked.length)))
  for (let i = 0; i < room; i++) for (const at of [i, count - 1 - i]) keep.add(at)
  for (const at of marked) for (let i = 0; i < room; i++) keep.add(at - Math.floor(room / 2) + i)
  const positions = [...keep].filter((at) => at >= 0 && at < count).sort((a, b) => a - b)
  return positions.flatMap((at, i) => (i > 0 && at > positions[i - 1]! + 1 ? [null, at] : [at]))
}
