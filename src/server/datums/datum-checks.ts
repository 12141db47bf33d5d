// What is commonly wrong with one datum, as a table of checks: each looks at the numbers and says where and what. Pure; knows
// tokens and tensors, and what single tokens are if a vocabulary is given. Loss names matter only for what a loss reads.

import { LOSSES } from '../../backends/losses.ts'
import type { Vocabulary } from '../../formats/vocabulary.ts'
import { type Column, rowsOf, type ShownDatum } from './shown-datum.ts'

export interface CheckContext {
  readonly loss: string | null
  readonly vocabulary: Vocabulary | null
}

/** `wrong` cannot be meant; `suspicious` is seldom meant. */
export type Severity = 'wrong' | 'suspicious'

export interface Mark {
  /** Index into the tokens; absent: of the datum as a whole. */
  readonly position?: number
  readonly says: string
}

export interface Check {
  readonly name: string
  readonly severity: Severity
  find(datum: ShownDatum, context: CheckContext): Iterable<Mark>
}

/** Several numbers per position only go with targets and weights: the rest of the checks looks at one. */
const single = (column: Column | undefined): Column | undefined => (column?.width === 1 ? column : undefined)
const targetsOf = ({ inputs }: ShownDatum) => single(inputs.target_tokens)
const at = (column: Column | undefined, i: number) => column?.values[i]

/** Whether a position counts for the loss: by its weight, else by its advantage, else always. */
function counts(datum: ShownDatum, i: number): boolean {
  const { weights, advantages } = datum.inputs
  const given = weights ?? advantages
  if (!given) return true
  const { values, width } = given
  for (let k = 0; k < width; k++) if ((values[i * width + k] ?? 0) !== 0) return true
  return false
}

function* positions(datum: ShownDatum): Iterable<number> {
  for (let i = 0; i < datum.tokens.length; i++) if (counts(datum, i)) yield i
}

/** The part of the counting positions whose target is the token `offset` away; NaN where there are fewer than two. */
function agreement(datum: ShownDatum, targets: Column, offset: number): number {
  let [same, seen] = [0, 0]
  for (const i of positions(datum)) {
    const token = datum.tokens[i + offset]
    if (token === undefined) continue
    seen++
    if (token === targets.values[i]) same++
  }
  return seen < 2 ? Number.NaN : same / seen
}

const SHIFTS: readonly { offset: number; says: string }[] = [
  { offset: 0, says: 'the targets are the inputs themselves; each must be the next token: tokens[1:] for tokens[:-1]' },
  { offset: -1, says: 'the targets are shifted the wrong way: each is the token before its input' },
  { offset: 2, says: 'the targets are shifted twice: each is the next token but one' },
]

const mostly = (part: number) => part > 0.9

function* notShifted(datum: ShownDatum): Iterable<Mark> {
  const targets = targetsOf(datum)
  if (!targets || agreement(datum, targets, 1) > 0.5) return
  const found = SHIFTS.find(({ offset }) => mostly(agreement(datum, targets, offset)))
  if (found) yield { says: found.says }
}

function* unrelatedTargets(datum: ShownDatum): Iterable<Mark> {
  const targets = targetsOf(datum)
  if (!targets || [0, -1, 2].some((offset) => mostly(agreement(datum, targets, offset)))) return
  const next = agreement(datum, targets, 1)
  if (next < 0.5) yield { says: `only ${Math.round(next * 100)} % of the targets that count are the next token` }
}

function* lengths({ tokens, inputs }: ShownDatum): Iterable<Mark> {
  for (const [name, column] of Object.entries(inputs)) {
    const rows = rowsOf(column)
    if (rows !== tokens.length) {
      const position = Math.min(rows, tokens.length)
      yield { position, says: `${name} has ${rows} rows for ${tokens.length} tokens` }
    }
  }
}

function* missingInputs({ inputs }: ShownDatum, { loss }: CheckContext): Iterable<Mark> {
  const required = loss !== null && loss in LOSSES ? LOSSES[loss as keyof typeof LOSSES].required : []
  for (const name of ['target_tokens', ...required]) {
    if (!(name in inputs)) yield { says: `${name} is missing${loss === null ? '' : `; the loss ${loss} needs it`}` }
  }
}

/** The first position whose number is bad. */
function* firstBad(
  column: Column | undefined,
  bad: (value: number) => boolean,
  says: (value: number) => string,
): Iterable<Mark> {
  if (!column) return
  for (let i = 0; i < column.values.length; i++) {
    const value = column.values[i]!
    if (bad(value)) return yield { position: Math.floor(i / column.width), says: says(value) }
  }
}

function* notFinite({ inputs }: ShownDatum): Iterable<Mark> {
  for (const [name, column] of Object.entries(inputs)) {
    yield* firstBad(
      column,
      (value) => !Number.isFinite(value),
      (value) => `${name} has ${value}`,
    )
  }
}

function* positiveLogprobs({ inputs }: ShownDatum): Iterable<Mark> {
  const isBad = (value: number) => value > 0
  yield* firstBad(inputs.logprobs, isBad, (value) => `logprobs has ${value}; a log-probability is never above 0`)
}

const allZero = (column: Column | undefined): boolean =>
  column !== undefined && column.values.length > 0 && Array.from(column.values).every((value) => value === 0)

function* nothingCounts({ inputs }: ShownDatum): Iterable<Mark> {
  if (allZero(inputs.weights)) yield { says: 'all weights are zero: this datum teaches nothing' }
}

/** An answer that was as good as the mean of its group has none; a whole batch of them is another check's. */
function* noAdvantage({ inputs }: ShownDatum): Iterable<Mark> {
  if (allZero(inputs.advantages)) yield { says: 'all advantages are zero: this datum teaches nothing' }
}

function* zeroLogprobs({ inputs }: ShownDatum): Iterable<Mark> {
  if (allZero(inputs.logprobs) && !allZero(inputs.advantages)) {
    yield { says: 'all logprobs are zero, which says that every token was certain: were those of sampling left out?' }
  }
}

function* outsideVocabulary({ tokens, inputs }: ShownDatum, { vocabulary }: CheckContext): Iterable<Mark> {
  const size = vocabulary?.size ?? 2 ** 31
  const isBad = (id: number) => !Number.isInteger(id) || id < 0 || id >= size
  const of = vocabulary ? `the vocabulary of ${size}` : 'any vocabulary'
  yield* firstBad({ values: tokens, width: 1 }, isBad, (id) => `the token ${id} is outside ${of}`)
  const hint = (id: number) => (id === -100 ? '; it marks what is left out elsewhere, here a weight of 0 does' : '')
  yield* firstBad(inputs.target_tokens, isBad, (id) => `the target ${id} is outside ${of}${hint(id)}`)
}

function* weightOnPrompt(datum: ShownDatum): Iterable<Mark> {
  const { weights } = datum.inputs
  if (!weights || datum.tokens.length < 2 || rowsOf(weights) !== datum.tokens.length) return
  const values = Array.from(weights.values)
  if (values[0] && values.every((value) => value === values[0])) {
    yield { says: `all weights are ${values[0]}, the prompt's too; give the prompt 0 if only the answer is taught` }
  }
}

/** Weights on the filling behind a text: the padding token, or the same token again and again at the end. */
function* weightOnPadding(datum: ShownDatum, { vocabulary }: CheckContext): Iterable<Mark> {
  const targets = targetsOf(datum)
  if (!targets || targets.values.length < 2) return
  const last = targets.values[targets.values.length - 1]!
  let begin = targets.values.length - 1
  while (begin > 0 && targets.values[begin - 1] === last) begin--
  const isPadding = last === vocabulary?.padding || vocabulary?.ends.has(last) === true
  // One end is how a text ends; ordinary text repeats itself a little.
  if (targets.values.length - begin < (isPadding ? 2 : 8)) return
  for (let i = begin + 1; i < targets.values.length; i++) {
    if (!counts(datum, i)) continue
    return yield { position: i, says: `the filling at the end (target ${last}, from ${begin + 1} on) has weight` }
  }
}

function* specialInside(datum: ShownDatum, { vocabulary }: CheckContext): Iterable<Mark> {
  const targets = targetsOf(datum)
  if (!vocabulary || !targets) return
  const { special, ends, begin, tokens } = { ...vocabulary, tokens: datum.tokens }
  if (begin !== null && tokens[0] === begin && tokens[1] === begin) {
    yield { position: 1, says: `the text begins twice (${special.get(begin) ?? begin}): added by hand and by encode` }
  }
  for (const i of positions(datum)) {
    const target = targets.values[i]!
    const name = special.get(target)
    const isInside = i + 1 < tokens.length && counts(datum, i + 1)
    if (name !== undefined && isInside && !ends.has(target)) {
      return yield {
        position: i,
        says: `${name} stands inside what is taught: is a header or the prompt weighted too?`,
      }
    }
  }
}

/** How a special token is written, made of ordinary tokens: the template went through encode as text. */
function* specialAsText({ tokens }: ShownDatum, { vocabulary }: CheckContext): Iterable<Mark> {
  if (!vocabulary) return
  const ordinary = Array.from(tokens).map((id) => (vocabulary.special.has(id) ? null : id))
  let run: number[] = []
  for (let i = 0; i <= ordinary.length; i++) {
    const id = ordinary[i]
    if (id != null) {
      run.push(id)
      continue
    }
    const text = vocabulary.textOfAll(run)
    const name = [...vocabulary.special.values()].find((written) => written.length > 2 && text.includes(written))
    if (name !== undefined) {
      const position = i - run.length + startOf(run, name, vocabulary)
      return yield { position, says: `${name} is spelled out in ordinary tokens: it will not be the special token` }
    }
    run = []
  }
}

function startOf(run: readonly number[], name: string, { textOfAll }: Vocabulary): number {
  let start = 0
  while (start + 1 < run.length && textOfAll(run.slice(start + 1)).includes(name)) start++
  return start
}

/** Sampling and training see the same text: their log-probabilities are near each other unless something is out of line. */
function* farFromModel(datum: ShownDatum): Iterable<Mark> {
  const [old, now] = [single(datum.inputs.logprobs), single(datum.computed)]
  if (!old || !now) return
  let [sum, seen, worst] = [0, 0, 0]
  for (const i of positions(datum)) {
    const distance = Math.abs((at(now, i) ?? Number.NaN) - (at(old, i) ?? Number.NaN))
    if (Number.isNaN(distance)) continue
    sum += distance
    seen++
    if (distance > Math.abs((at(now, worst) ?? 0) - (at(old, worst) ?? 0))) worst = i
  }
  if (seen < 2 || sum / seen < 1) return
  yield {
    position: worst,
    says: `logprobs are ${(sum / seen).toFixed(2)} off from the model's on average: another model, or one position off?`,
  }
}

export const CHECKS: readonly Check[] = [
  { name: 'lengths-differ', severity: 'wrong', find: lengths },
  { name: 'input-missing', severity: 'wrong', find: missingInputs },
  { name: 'targets-not-shifted', severity: 'wrong', find: notShifted },
  { name: 'targets-unrelated', severity: 'suspicious', find: unrelatedTargets },
  { name: 'outside-vocabulary', severity: 'wrong', find: outsideVocabulary },
  { name: 'not-finite', severity: 'wrong', find: notFinite },
  { name: 'nothing-counts', severity: 'wrong', find: nothingCounts },
  { name: 'advantages-zero', severity: 'suspicious', find: noAdvantage },
  { name: 'logprobs-positive', severity: 'wrong', find: positiveLogprobs },
  { name: 'logprobs-zero', severity: 'suspicious', find: zeroLogprobs },
  { name: 'logprobs-off', severity: 'suspicious', find: farFromModel },
  { name: 'weight-on-padding', severity: 'wrong', find: weightOnPadding },
  { name: 'weight-on-prompt', severity: 'suspicious', find: weightOnPrompt },
  { name: 'special-inside', severity: 'suspicious', find: specialInside },
  { name: 'special-as-text', severity: 'wrong', find: specialAsText },
]
