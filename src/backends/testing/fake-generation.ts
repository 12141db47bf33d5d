// How the fake engine scores prompts and draws samples from the table of fake-model.ts, by the rules of backend.ts:
// a draw depends on seed, sample index and position alone.

import { createHash } from 'node:crypto'
import type { GenerationEvent, GenerationRequest, TopK } from '../backend.ts'
import { logSoftmax, type Table } from './fake-model.ts'

export function scorePrompt(vocabulary: number, table: Table | undefined, request: GenerationRequest): GenerationEvent {
  const { prompt, promptLogprobs, topkPromptLogprobs: k, scorePromptFrom: from = 1, promptTargets, seed } = request
  const { promptDraws = 0, temperature } = request
  const rows = Array.from(prompt.subarray(0, -1), (token) => logSoftmax(vocabulary, table, token))
  const scored = (i: number) => i + 1 >= from
  const logprobs = Float32Array.of(NaN, ...rows.map((row, i) => (scored(i) ? row[prompt[i + 1]!]! : NaN)))
  const best = topKOf(rows, k)
  const topk = {
    k,
    ids: Int32Array.of(...new Int32Array(k), ...best.ids.map((id, cell) => (scored(Math.floor(cell / k)) ? id : 0))),
    logprobs: Float32Array.of(
      ...new Float32Array(k).fill(NaN),
      ...best.logprobs.map((p, cell) => (scored(Math.floor(cell / k)) ? p : NaN)),
    ),
  }
  const targets = Float32Array.from(promptTargets?.ids ?? [], (id, cell) => {
    return rows[promptTargets!.starts.findIndex((start) => start > cell) - 1]![id]!
  })
  const ids = Int32Array.from({ length: rows.length * promptDraws }, (_, cell) => {
    const [i, d] = [Math.floor(cell / promptDraws), cell % promptDraws]
    const row = logSoftmax(vocabulary, table, prompt[i]!, temperature || 1)
    return temperature ? draw(row, uniform(seed, `prompt ${d}`, i + 1), 0, 1) : draw(row, 0, 1, 1)
  })
  const drawn = Float32Array.from(ids, (id, cell) => rows[Math.floor(cell / promptDraws)]![id]!)
  return {
    type: 'prompt',
    ...(promptLogprobs && { logprobs }),
    ...(k && { topk }),
    ...(promptTargets && { targets }),
    ...(promptDraws && { draws: { ids, logprobs: drawn } }),
  }
}

export type Sample = GenerationEvent & { type: 'sample' }

/** What makes text of tokens, and tokens that stand for a text. */
interface Text {
  decode(tokens: readonly number[]): string
  script(request: GenerationRequest, index: number): readonly number[]
}

export function drawSample(
  vocabulary: number,
  table: Table | undefined,
  request: GenerationRequest,
  index: number,
  { decode, script }: Text,
): Sample {
  const { prompt, temperature, topK, topP, stopTokens, stopStrings, topkSampleLogprobs } = request
  const given = script(request, index)
  const tokens: number[] = []
  const logprobs: number[] = []
  const rows: Float64Array[] = []
  let stopReason: 'stop' | 'length' = 'length'
  for (let last = prompt.at(-1)!; tokens.length < request.maxTokens && stopReason === 'length'; ) {
    if (topkSampleLogprobs) rows.push(logSoftmax(vocabulary, table, last))
    const row = logSoftmax(vocabulary, table, last, temperature || 1)
    const u = uniform(request.seed, index, prompt.length + tokens.length)
    last = given[tokens.length] ?? (temperature ? draw(row, u, topK, topP) : draw(row, 0, 1, 1))
    tokens.push(last)
    logprobs.push(row[last]!)
    const text = stopStrings.length ? decode(tokens) : ''
    if (stopTokens.includes(last) || stopStrings.some((s) => text.includes(s))) stopReason = 'stop'
  }
  return {
    type: 'sample',
    index,
    tokens: Int32Array.from(tokens),
    logprobs: Float32Array.from(logprobs),
    stopReason,
    ...(topkSampleLogprobs && { topk: topKOf(rows, topkSampleLogprobs) }),
  }
}

/** The same sequence as a request that streams hears of it. */
export function inTokens({ index, tokens, logprobs, topk }: Sample): GenerationEvent[] {
  return Array.from(tokens, (_, start) => {
    const one = <T extends Int32Array | Float32Array>(values: T, k = 1) => values.slice(start * k, (start + 1) * k) as T
    const best = topk && { k: topk.k, ids: one(topk.ids, topk.k), logprobs: one(topk.logprobs, topk.k) }
    return {
      type: 'tokens',
      index,
      start,
      tokens: one(tokens),
      logprobs: one(logprobs),
      ...(best && { topk: best }),
    }
  })
}

/** A number in [0, 1) that depends on its arguments alone. */
function uniform(seed: string, sample: number | string, position: number): number {
  return createHash('sha256').update(`${seed}/${sample}/${position}`).digest().readUIntBE(0, 6) / 2 ** 48
}

/** Best `k` ids of each row, ties to the lower id. */
function topKOf(rows: readonly Float64Array[], k: number): TopK {
  const ids = new Int32Array(rows.length * k)
  const logprobs = new Float32Array(rows.length * k)
  rows.forEach((row, r) => {
    bestFirst(row)
      .slice(0, k)
      .forEach((id, i) => {
        ids[r * k + i] = id
        logprobs[r * k + i] = row[id]!
      })
  })
  return { k, ids, logprobs }
}

function bestFirst(logprobs: Float64Array): number[] {
  return [...logprobs.keys()].sort((a, b) => logprobs[b]! - logprobs[a]! || a - b)
}

/** Inverse CDF after top_k, renormalising, then top_p; the token that crosses top_p is kept. */
function draw(logprobs: Float64Array, u: number, topK: number, topP: number): number {
  const kept = bestFirst(logprobs).slice(0, topK || logprobs.length)
  const mass = (ids: number[]) => ids.reduce((sum, id) => sum + Math.exp(logprobs[id]!), 0)
  const total = mass(kept)
  let nucleus = 0
  const end = kept.findIndex((id) => {
    nucleus += Math.exp(logprobs[id]!) / total
    return nucleus >= topP
  })
  const ids = end < 0 ? kept : kept.slice(0, end + 1)
  let left = u * mass(ids)
  for (const id of ids) {
    left -= Math.exp(logprobs[id]!)
    if (left < 0) return id
  }
  return ids.at(-1)!
}
