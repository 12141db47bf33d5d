// Adapters side by side: copies their sections into the [layers, C, width] stacks of a micro-batch, and takes each one's
// columns of the gradients out again. Knows columns; knows nothing of tokens or sessions.

import {
  type AdapterLayout,
  type DecoderShape,
  type Projection,
  projectionShape,
  type Section,
} from './adapter-layout.ts'
import type { FloatType } from './autodiff.ts'
import type { Feed, Values } from './runner.ts'

export type Floats = Float32Array | Float64Array
export const floats = (type: FloatType, length: number): Floats =>
  type === 'float32' ? new Float32Array(length) : new Float64Array(length)

/** An adapter and the first of its columns; it has as many as its rank. */
export interface ColumnGroup {
  readonly weights: { readonly layout: AdapterLayout; readonly params: Floats }
  readonly column: number
}

const SIDES = ['A', 'B'] as const
const sideOf = (section: Section, side: (typeof SIDES)[number]) =>
  side === 'A' ? { offset: section.a, width: section.in } : { offset: section.b, width: section.out }

/** The inputs p.A and p.B; columns of nobody are zero. */
export function stackAdapters(
  model: DecoderShape,
  type: FloatType,
  projections: readonly Projection[],
  columns: number,
  groups: readonly ColumnGroup[],
): Record<string, Feed> {
  const feeds: Record<string, Feed> = {}
  for (const projection of projections) {
    const shape = projectionShape(model, projection)
    for (const side of SIDES) {
      const dims = [shape.layers, columns, side === 'A' ? shape.in : shape.out] as const
      const data = alone(type, columns, groups, projection, side) ?? copied(type, dims, groups, projection, side)
      feeds[`${projection}.${side}`] = { data, dims }
    }
  }
  return feeds
}

/** A lone adapter's section is the stack already: nothing to copy. */
function alone(
  type: FloatType,
  columns: number,
  groups: readonly ColumnGroup[],
  projection: Projection,
  side: (typeof SIDES)[number],
): Floats | undefined {
  const [group] = groups
  if (type !== 'float32' || groups.length !== 1 || !group || group.weights.layout.rank !== columns) return undefined
  const section = group.weights.layout.sections.find((s) => s.projection === projection)
  if (!section) return undefined
  const { offset, width } = sideOf(section, side)
  return group.weights.params.subarray(offset, offset + section.layers * columns * width)
}

function copied(
  type: FloatType,
  [layers, columns, width]: readonly [number, number, number],
  groups: readonly ColumnGroup[],
  projection: Projection,
  side: (typeof SIDES)[number],
): Floats {
  const stack = floats(type, layers * columns * width)
  for (const { weights, column } of groups) {
    const { rank, sections } = weights.layout
    const section = sections.find((s) => s.projection === projection)
    if (!section) continue
    const { offset } = sideOf(section, side)
    const size = rank * width
    for (let layer = 0; layer < layers; layer++) {
      const from = offset + layer * size
      stack.set(weights.params.subarray(from, from + size), (layer * columns + column) * width)
    }
  }
  return stack
}

/** Adds one adapter's columns of the outputs p.A.grad and p.B.grad to `sum` [layout.size]. */
export function addGradient(
  sum: Floats,
  outputs: Readonly<Record<string, Values>>,
  columns: number,
  { weights, column }: ColumnGroup,
): void {
  const { rank, sections } = weights.layout
  for (const section of sections) {
    for (const side of SIDES) {
      const gradient = outputs[`${section.projection}.${side}.grad`] as Floats | undefined
      // A run with embeddings does not reach the output projection.
      if (!gradient) continue
      const { offset, width } = sideOf(section, side)
      const size = rank * width
      for (let layer = 0; layer < section.layers; layer++) {
        const from = (layer * columns + column) * width
        const to = offset + layer * size
        for (let i = 0; i < size; i++) sum[to + i] = (sum[to + i] as number) + (gradient[from + i] as number)
      }
    }
  }
}
