// Draws the next token of many sequences from rows of the head. At first few candidates come back for each row; where they
// do not settle a draw, that row alone is asked again for more. Knows rows and draws; nothing of caches or prompts.

import type { GenerationRequest } from '../backend.ts'
import type { AdapterStacks } from './adapter-stacks.ts'
import { type Decoder, type HeadResult, type HeadRow, isFiniteRow } from './decoder.ts'
import type { Sequence } from './sequence.ts'
import { chooseToken } from './token-choice.ts'

/** Candidates of a row at first, by far enough for most draws, and how many times more the next time. */
const FEW = 64
const WIDER = 16
/** A vocabulary up to this size comes back as a whole. */
const SMALL_VOCABULARY = 1024

/** A token that waits to be drawn from a head row. */
export interface Draw {
  readonly row: number
  readonly sequence: Sequence
}

/** A head row and the index of the chosen one among its candidates. */
export interface Drawn {
  readonly row: HeadResult
  readonly choice: number
}

/** For each draw what came of it; undefined where the logits are not finite. `hidden` [rows, H]. */
export async function drawTokens(
  decoder: Decoder,
  stacks: AdapterStacks,
  hidden: Float32Array,
  rows: readonly HeadRow[],
  draws: readonly Draw[],
): Promise<(Drawn | undefined)[]> {
  const { vocabulary, hidden: width } = decoder.config
  let k = Math.max(...draws.map(({ sequence }) => firstCandidates(sequence.request, vocabulary)))
  const results = await decoder.head(stacks, hidden, rows, k)
  const drawn: (Drawn | undefined)[] = draws.map(() => undefined)
  let open = draws.map((draw, i) => ({ ...draw, i, u: draw.sequence.draw() }))
  while (true) {
    open = open.filter(({ row, sequence, i, u }) => {
      const result = results[row] as HeadResult
      if (!isFiniteRow(result)) return false
      const choice = chooseToken(result, sequence.request, vocabulary, u)
      if (choice !== undefined) drawn[i] = { row: result, choice }
      return choice === undefined
    })
    if (open.length === 0) return drawn
    k = Math.min(vocabulary, k * WIDER)
    const again = [...new Set(open.map((draw) => draw.row))]
    const asked = again.map((row) => rows[row] as HeadRow)
    const wider = await decoder.head(stacks, pickRows(hidden, again, width), asked, k)
    again.forEach((row, i) => {
      results[row] = wider[i] as HeadResult
    })
  }
}

/** Enough for what the request reports, and for most of its draws. */
function firstCandidates(request: GenerationRequest, vocabulary: number): number {
  const { temperature, topK, topkSampleLogprobs } = request
  if (vocabulary <= SMALL_VOCABULARY) return vocabulary
  const few = temperature === 0 || topK === 1 ? 1 : topK > 0 && topK <= FEW * WIDER ? topK : FEW
  return Math.min(vocabulary, Math.max(few, topkSampleLogprobs))
}

function pickRows(values: Float32Array, rows: readonly number[], width: number): Float32Array {
  const picked = new Float32Array(rows.length * width)
  rows.forEach((row, i) => {
    picked.set(values.subarray(row * width, (row + 1) * width), i * width)
  })
  return picked
}
