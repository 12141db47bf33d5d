// Where the numbers of a LoRA adapter lie in one flat buffer. Parameters, gradients and both AdamW moments share this
// layout, so that a snapshot, a hash or a journal record of an adapter is one write. Knows shapes only.
//
// For each adapted projection: A as [layers, rank, in], then B transposed as [layers, rank, out]. With the rank before the
// wide axis, stacking several adapters side by side (columns C = sum of ranks) is one copy per layer and adapter.

export const PROJECTIONS = ['q', 'k', 'v', 'o', 'gate', 'up', 'down', 'unembed'] as const
export type Projection = (typeof PROJECTIONS)[number]

/** The sizes of a decoder that decide adapter shapes. */
export interface DecoderShape {
  readonly hidden: number
  readonly intermediate: number
  readonly layers: number
  readonly heads: number
  readonly kvHeads: number
  readonly headDim: number
  readonly vocabulary: number
}

export interface ProjectionShape {
  /** How many times the model has this projection: once a layer, the unembedding once. */
  readonly layers: number
  readonly in: number
  readonly out: number
}

export function projectionShape(model: DecoderShape, projection: Projection): ProjectionShape {
  const { hidden, intermediate, layers, vocabulary } = model
  const queries = model.heads * model.headDim
  const keys = model.kvHeads * model.headDim
  switch (projection) {
    case 'q':
      return { layers, in: hidden, out: queries }
    case 'k':
    case 'v':
      return { layers, in: hidden, out: keys }
    case 'o':
      return { layers, in: queries, out: hidden }
    case 'gate':
    case 'up':
      return { layers, in: hidden, out: intermediate }
    case 'down':
      return { layers, in: intermediate, out: hidden }
    case 'unembed':
      return { layers: 1, in: hidden, out: vocabulary }
  }
}

/** Which projections the three switches of the Tinker protocol adapt. */
export function adaptedProjections(flags: {
  readonly trainAttention: boolean
  readonly trainMlp: boolean
  readonly trainUnembed: boolean
}): Projection[] {
  return PROJECTIONS.filter((p) => {
    if (p === 'unembed') return flags.trainUnembed
    return p === 'gate' || p === 'up' || p === 'down' ? flags.trainMlp : flags.trainAttention
  })
}

export interface Section extends ProjectionShape {
  readonly projection: Projection
  /** Offsets of A [layers, rank, in] and of transposed B [layers, rank, out], in elements. */
  readonly a: number
  readonly b: number
}

export interface AdapterLayout {
  readonly rank: number
  readonly sections: readonly Section[]
  /** Elements of the whole buffer. */
  readonly size: number
}

export function adapterLayout(model: DecoderShape, projections: readonly Projection[], rank: number): AdapterLayout {
  const sections: Section[] = []
  let size = 0
  for (const projection of PROJECTIONS) {
    if (!projections.includes(projection)) continue
    const shape = projectionShape(model, projection)
    const a = size
    const b = a + shape.layers * rank * shape.in
    size = b + shape.layers * rank * shape.out
    sections.push({ projection, ...shape, a, b })
  }
  return { rank, sections, size }
}
