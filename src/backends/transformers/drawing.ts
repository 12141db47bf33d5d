// Draws tokens from rows of the head: the next ones of many sequences, or any others. At first few candidates come back for
// each row; where they do not settle a draw, that row alone is asked again for more. Knows nothing of caches or prompts.

import type { GenerationRequest } from '../backend.ts'
import type { AdapterStacks } from './adapter-stacks.ts'
import { type Decoder, type HeadResult, type HeadRow, isFiniteRow } from './decoder.ts'
import type { Sequence } from './sequence.ts'
import { type ChoiceRule, chooseToken } from './token-choice.ts'

/** Candidates of a row at first, by far enough for most draws, and how many times more the next time. */
const FEW = 64
const WIDER = 16
/** A vocabulary up to this size comes back as a whole. */
const SMALL_VOCABULARY = 1024

/** A token that waits to be drawn from a head row, with its random number in [0, 1). */
export interface Draw {
  readonly row: number
  readonly rule: ChoiceRule
  readonly u: number
}

/** A head row and the index of the chosen one among its candidates. */
export interface Drawn {
  readonly row: HeadResult
  readonly choice: number
}

/** What the head says of rows, and what it was asked. `hidden` [rows, H]. */
export interface Asked {
  readonly stacks: AdapterStacks
  readonly hidden: Float32Array
  readonly rows: readonly HeadRow[]
  readonly results: readonly HeadResult[]
}

/** The next token of each sequence, from its row; undefined where the logits are not finite. `hidden` [rows, H]. */
export async function drawTokens(
  decoder: Decoder,
  stacks: AdapterStacks,
  hidden: Float32Array,
  rows: readonly HeadRow[],
  sequences: readonly { readonly row: number; readonly sequence: Sequence }[],
): Promise<(Drawn | undefined)[]> {
  const { vocabulary } = decoder.config
  const k = Math.max(...sequences.map(({ sequence: { request } }) => firstCandidates(request, vocabulary)))
  const results = await decoder.head(stacks, hidden, rows, k)
  const draws = sequences.map(({ row, sequence }) => ({ row, rule: sequence.request, u: sequence.draw() }))
  return settle(decoder, { stacks, hidden, rows, results }, draws)
}

/** For each draw what came of it; undefined where the logits are not finite. */
export async function settle(decoder: Decoder, asked: Asked, draws: readonly Draw[]): Promise<(Drawn | undefined)[]> {
  const { vocabulary, hidden: width } = decoder.config
  const results = [...asked.results]
  const drawn: (Drawn | undefined)[] = draws.map(() => undefined)
  let open = draws.map((draw, i) => ({ ...draw, i }))
  while (true) {
    open = open.filter(({ row, rule, i, u }) => {
      const result = results[row] as HeadResult
      if (!isFiniteRow(result)) return false
      const choice = chooseToken(result, rule, vocabulary, u)
      if (choice !== undefined) drawn[i] = { row: result, choice }
      return choice === undefined
    })
    if (open.length === 0) return drawn
    const again = [...new Set(open.map((draw) => draw.row))]
    const known = Math.max(...again.map((row) => (results[row] as HeadResult).ids.length))
    const rows = again.map((row) => asked.rows[row] as HeadRow)
    const hidden = pickRows(asked.hidden, again, width)
    const wider = await decoder.head(asked.stacks, hidden, rows, Math.min(vocabulary, known * WIDER))
    again.forEach((row, i) => {
      results[row] = wider[i] as HeadResult
    })
  }
}

/** Enough for what the request reports, and for most of its draws. */
function firstCandidates(request: GenerationRequest, vocabulary: number): number {
  return Math.min(vocabulary, Math.max(candidatesFor(request, vocabulary), request.topkSampleLogprobs))
}

/** Candidates that settle most draws by this rule. */
export function candidatesFor({ temperature, topK }: ChoiceRule, vocabulary: number): number {
  if (vocabulary <= SMALL_VOCABULARY) return vocabulary
  const few = temperature === 0 || topK === 1 ? 1 : topK > 0 && topK <= FEW * WIDER ? topK : FEW
  return Math.min(vocabulary, few)
}

function pickRows(values: Float32Array, rows: readonly number[], width: number): Float32Array {
  const picked = new Float32Array(rows.length * width)
  rows.forEach((row, i) => {
    picked.set(values.subarray(row * width, (row + 1) * width), i * width)
  })
  return picked
}
