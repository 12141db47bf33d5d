// The mathematics of the fake engine: a table of next-token logits for each last token ("bigram"), plus an adapter's own
// table on top. Small enough to compute by hand, true enough that losses fall, gradients add up and samples follow training.

import { lossSlope, scaled } from '../../catalogue/losses/numbers.ts'
import type { LossSpec, OptimizerRule, OptimizerSpec, TrainingDatum } from '../backend.ts'
import { engineError } from '../engine-errors.ts'
import { lossOf } from '../losses.ts'
import { moved } from '../transformers/optimizer.ts'

/** Rows of an adapter's table, or of its gradient, by last token; an absent row is zeros. */
export type Table = Map<number, Float32Array>

/** Logits move by this much for each unit of a weight: the learning rates of real adapters then do something here. */
const GAIN = 32

export class FakeAdapter {
  weights: Table = new Map()
  gradient: Table | null = null
  /** Of the rule that took the steps, by its names. */
  slots: Record<string, Table> = {}
  rule: OptimizerRule = 'adamw'
  step = 0
}

/** Logits of the base model after `last`, in [-2, 2); any function that looks random and never changes. */
function baseLogits(last: number, vocabulary: number): Float64Array {
  return Float64Array.from({ length: vocabulary }, (_, next) => {
    let h = Math.imul(last + 1, 0x9e3779b1) ^ Math.imul(next + 1, 0x85ebca6b)
    h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d)
    h = Math.imul(h ^ (h >>> 12), 0x297a2d39)
    return ((h ^ (h >>> 15)) >>> 0) / 2 ** 30 - 2
  })
}

/** log softmax(logits / temperature) of what follows `last`. */
export function logSoftmax(vocabulary: number, table: Table | undefined, last: number, temperature = 1): Float64Array {
  const logits = baseLogits(last, vocabulary)
  const row = table?.get(last)
  if (row) for (let i = 0; i < vocabulary; i++) logits[i]! += GAIN * row[i]!
  for (let i = 0; i < vocabulary; i++) logits[i]! /= temperature
  const max = logits.reduce((a, b) => Math.max(a, b), -Infinity)
  let sum = 0
  for (const logit of logits) sum += Math.exp(logit - max)
  const shift = max + Math.log(sum)
  return logits.map((logit) => logit - shift)
}

/** Log-probabilities and loss of one datum; adds d(loss)/d(table) to `gradient` where one is given. */
export function scoreDatum(
  vocabulary: number,
  table: Table,
  loss: LossSpec,
  datum: TrainingDatum,
  gradient: Table | null,
  shares?: Float64Array,
): { logprobs: Float32Array; loss: number; likeliest: number } {
  const { tokens, targets, width } = datum
  const rule = lossOf(loss.name)
  if (rule.kind !== 'token') throw engineError('UNSUPPORTED_LOSS', `the fake engine computes no loss ${loss.name}`)
  const { value, numbers } = rule
  const logprobs = new Float32Array(tokens.length * width)
  let [total, likeliest] = [0, 0]
  for (let n = 0; n < tokens.length; n++) {
    const last = tokens[n]!
    const p = logSoftmax(vocabulary, table, last)
    for (let i = n * width; i < (n + 1) * width; i++) {
      const target = targets[i]!
      logprobs[i] = p[target]!
      if (datum.mask?.[n] && p[target]! >= Math.max(...p)) likeliest++
      const inputs = {
        weight: datum.weights?.[i] ?? 1,
        old: datum.logprobs?.[n] ?? 0,
        advantage: datum.advantages?.[n] ?? 0,
        reference: datum.ref_logps?.[n] ?? 0,
        isOnPolicy: datum.logprobs === undefined,
      }
      const share = shares ? shares[n]! : 1
      total += share * value(p[target]!, inputs, loss.config)
      const pull = lossSlope(p[target]!, scaled(numbers(inputs, loss.config), share))
      if (!gradient || pull === 0) continue
      const row = rowOf(gradient, last, vocabulary)
      for (let v = 0; v < vocabulary; v++) row[v]! += GAIN * pull * (Math.exp(p[v]!) - (v === target ? 1 : 0))
    }
  }
  return { logprobs, loss: total, likeliest }
}

/** Adds `from` to `into` and returns `into`. */
export function addTable(into: Table, from: Table): Table {
  for (const [last, row] of from) {
    const sum = rowOf(into, last, row.length)
    for (let i = 0; i < row.length; i++) sum[i]! += row[i]!
  }
  return into
}

export function norm(table: Table): number {
  let sum = 0
  for (const row of table.values()) for (const g of row) sum += g * g
  return Math.sqrt(sum)
}

/** What an adapter is after one step; null where its weights would leave the range of floats. Nothing is changed. */
export function stepped(
  { weights, slots, step }: Pick<FakeAdapter, 'weights' | 'slots' | 'step'>,
  gradient: Table,
  spec: OptimizerSpec,
): { weights: Table; slots: Record<string, Table>; step: number } | null {
  const tables = [weights, gradient, ...Object.values(slots)]
  const keys = [...new Set(tables.flatMap((table) => [...table.keys()]))].sort((a, b) => a - b)
  const vocabulary = tables.flatMap((table) => [...table.values()])[0]?.length ?? 0
  const flat = (table: Table) => flatten(table, keys, vocabulary)
  const before = { params: flat(weights), slots: mapValues(slots, flat), step }
  const after = moved(before, flat(gradient), spec)
  if (!after.params.every(Number.isFinite)) return null
  const table = (values: Float32Array): Table =>
    new Map(keys.map((key, i) => [key, values.slice(i * vocabulary, (i + 1) * vocabulary)]))
  return { weights: table(after.params), slots: mapValues(after.slots, table), step: after.step }
}

function flatten(table: Table, keys: readonly number[], vocabulary: number): Float32Array {
  const values = new Float32Array(keys.length * vocabulary)
  for (const [i, key] of keys.entries()) values.set(table.get(key) ?? [], i * vocabulary)
  return values
}

export const mapValues = <T, U>(of: Readonly<Record<string, T>>, change: (value: T) => U): Record<string, U> =>
  Object.fromEntries(Object.entries(of).map(([key, value]) => [key, change(value)]))

/** Every number of a table, changed. */
export const mapTable = (table: Table, change: (value: number) => number): Table =>
  new Map([...table].map(([last, row]) => [last, row.map(change)]))

export const tableToJson = (table: Table): [number, number[]][] =>
  [...table].sort(([a], [b]) => a - b).map(([last, row]) => [last, Array.from(row)])

export const tableFromJson = (rows: [number, number[]][]): Table =>
  new Map(rows.map(([last, row]) => [last, Float32Array.from(row)]))

function rowOf(table: Table, last: number, vocabulary: number): Float32Array {
  const row = table.get(last) ?? new Float32Array(vocabulary)
  table.set(last, row)
  return row
}
