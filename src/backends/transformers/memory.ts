// How many bytes a training micro-batch takes, before it is run: saved activations, attention probabilities, the head's
// probabilities and the adapter stacks. A rough upper estimate; knows sizes only.

import { LOSS_NUMBERS } from '../../catalogue/losses/numbers.ts'
import { PROJECTIONS, projectionShape } from './adapter-layout.ts'
import { SHORT_SPAN } from './batch.ts'
import type { DecoderConfig } from './layers.ts'
import type { BatchSize } from './plan.ts'

/** Bytes of one run in float32. */
export function estimateBytes(config: DecoderConfig, size: BatchSize): number {
  const { hidden, intermediate, layers, heads, kvHeads, headDim, vocabulary } = config
  const { tokens, longest, columns, width, backward, head: extra } = size
  const activations = 4 * hidden + 2 * (heads + 2 * kvHeads) * headDim + heads * headDim + 4 * intermediate
  // Spans are as long as the longest sequence and at least half full, but for the last.
  const span = Math.max(longest, Math.min(tokens, SHORT_SPAN))
  const probabilities = heads * span * (tokens === longest ? span : 2 * tokens + span)
  const kept = backward ? layers : 1
  const logits = (backward ? 2 : 1) + (extra === 'entropies' ? 2 : 0)
  const head = extra === 'embeddings' ? 0 : tokens * (vocabulary * logits + LOSS_NUMBERS.length * width)
  const stacks = PROJECTIONS.reduce((sum, p) => {
    const shape = projectionShape(config, p)
    return sum + shape.layers * columns * (shape.in + shape.out)
  }, 0)
  const floats = kept * (tokens * (activations + 16 * columns) + probabilities) + head + stacks * (backward ? 2 : 1)
  return floats * 4
}
