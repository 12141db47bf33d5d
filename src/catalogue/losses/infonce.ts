// InfoNCE over embeddings: van den Oord et al., arXiv 1807.03748, equation 4, with the cosine as similarity. Rows come in
// groups: an anchor, its positive, then any number of negatives; the documents of other groups are negatives as well
// (arXiv 2004.04906), and so can be other anchors and what is near the positive (arXiv 2506.05176). Knows vectors alone.

import type { JointCatalogueLoss, LossDatum } from './loss.ts'

type InfonceSettings = {
  readonly temperature: number
  /** 1: documents of other groups are negatives too. */
  readonly use_batch: number
  /** Negatives a group: more are cut off, fewer are repeated in turn. 0: as many as there are. */
  readonly hard_negatives: number
  /** 1: what is nearer to the anchor than its positive, by more than the margin, is taken for a positive and left out. */
  readonly mask_fake_negative: number
  readonly fake_neg_margin: number
  readonly include_qq: number
  readonly include_dd: number
}

/** Two rows whose similarity is weighed against that of an anchor and its positive. */
interface Pair {
  readonly a: number
  readonly b: number
  readonly similarity: number
}

export const infonce: JointCatalogueLoss<InfonceSettings> = {
  name: 'InfonceLoss',
  key: 'infonce',
  kind: 'embedding',
  formula:
    '-log of the share that exp(cos(anchor, positive) / temperature) has in the sum over the documents of all groups (of its ' +
    'own without use_batch), the other anchors (include_qq) and the documents beside the positive (include_dd); mean of the anchors',
  source: 'arXiv 1807.03748',
  required: ['mask'],
  optional: [],
  soft: false,
  settings(args) {
    const batch = args.boolean('use_batch', true)
    const flag = (key: string) => {
      const isOn = args.boolean(key, false)
      if (isOn && !batch) args.refuse(key, 'false without use_batch: a group alone has no others')
      return Number(isOn)
    }
    return {
      temperature: args.number('temperature', 0.1, { above: 0 }),
      use_batch: Number(batch),
      hard_negatives: args.integerOrNull('hard_negatives', null, { atLeast: 1, atMost: 1000 }) ?? 0,
      mask_fake_negative: flag('mask_fake_negative'),
      fake_neg_margin: args.number('fake_neg_margin', 0.1, { above: 0 }),
      include_qq: flag('include_qq'),
      include_dd: flag('include_dd'),
    }
  },
  reduction: (): 'mean' => 'mean',
  shares: (datums) => datums.map(({ mask }) => new Float64Array(mask?.length ?? 0)),
  problem(datum) {
    const marked = datum.mask?.reduce((sum, m) => sum + m, 0)
    if (marked !== 1) return `labels mark ${marked} positions; an embedding is of one`
    const label = labelOf(datum)
    return label === 0 || label === 1 ? undefined : `labels has ${label}; 1 begins a group, 0 goes on with it`
  },
  problemOfAll(datums, settings) {
    const { hard_negatives } = settings
    if (labelOf(datums[0]) !== 1) return 'labels begin with 0; the first row must be an anchor, with label 1'
    const least = hard_negatives ? 3 : 2
    const groups = groupsOf(datums)
    const short = groups.find((group) => group.length < least)
    if (short) {
      const wanted = `an anchor, a positive${least > 2 ? ' and a negative' : ''}`
      return `the group of row ${short[0]} has ${short.length} rows, but needs ${wanted}`
    }
    const pairs = comparisonCount(groups, settings)
    return pairs > MOST_COMPARISONS
      ? `${datums.length} rows make ${pairs} comparisons, at most ${MOST_COMPARISONS} are made at once; send fewer rows`
      : undefined
  },
  joint(datums, vectors, settings) {
    const units = vectors.map(unitVector)
    const groups = groupsOf(datums).map((group) => withNegatives(group, settings.hard_negatives))
    const gradients = units.map((unit) => new Float64Array(unit.length))
    let loss = 0
    groups.forEach((_, index) => {
      const pairs = comparisons(groups, index, units, settings)
      const max = Math.max(...pairs.map(({ similarity }) => similarity))
      const weights = pairs.map(({ similarity }) => Math.exp((similarity - max) / settings.temperature))
      const total = weights.reduce((a, b) => a + b, 0)
      loss += (Math.log(total) - ((pairs[0] as Pair).similarity - max) / settings.temperature) / groups.length
      pairs.forEach(({ a, b }, i) => {
        const share = (weights[i] as number) / total - (i === 0 ? 1 : 0)
        const slope = share / settings.temperature / groups.length
        addScaled(gradients[a] as Float64Array, units[b] as Float64Array, slope)
        addScaled(gradients[b] as Float64Array, units[a] as Float64Array, slope)
      })
    })
    return {
      loss,
      slopes: gradients.map((g, i) => throughLength(g, units[i] as Float64Array, vectors[i] as Float64Array)),
    }
  },
}

/** They grow with the square of the rows, and others wait meanwhile. */
const MOST_COMPARISONS = 2 ** 18

function comparisonCount(groups: readonly (readonly number[])[], settings: InfonceSettings): number {
  const { use_batch, hard_negatives, include_qq, include_dd } = settings
  const ofGroup = (group: readonly number[]) => (hard_negatives ? 1 + hard_negatives : group.length - 1)
  const documents = groups.reduce((sum, group) => sum + ofGroup(group), 0)
  if (!use_batch) return documents
  return groups.length * (documents * (1 + include_dd) + groups.length * include_qq)
}

const labelOf = (datum: LossDatum | undefined) => datum?.targets?.[datum.mask?.indexOf(1) ?? -1]

/** Indices of rows: anchor, positive, negatives. */
function groupsOf(datums: readonly LossDatum[]): number[][] {
  const groups: number[][] = []
  datums.forEach((datum, i) => {
    if (labelOf(datum) === 1) groups.push([i])
    else groups.at(-1)?.push(i)
  })
  return groups
}

function withNegatives(group: readonly number[], wanted: number): readonly number[] {
  if (wanted === 0) return group
  const negatives = group.slice(2)
  return [...group.slice(0, 2), ...Array.from({ length: wanted }, (_, i) => negatives[i % negatives.length] as number)]
}

/** What the anchor of one group is compared with: its positive first. */
function comparisons(
  groups: readonly (readonly number[])[],
  index: number,
  units: readonly Float64Array[],
  settings: InfonceSettings,
): readonly Pair[] {
  const pair = (a: number, b: number): Pair => ({
    a,
    b,
    similarity: dot(units[a] as Float64Array, units[b] as Float64Array),
  })
  const [anchor, own] = groups[index] as readonly [number, number]
  const documents = settings.use_batch ? groups.flatMap((group) => group.slice(1)) : (groups[index]?.slice(1) ?? [])
  const best = pair(anchor, own)
  const limit = settings.mask_fake_negative ? best.similarity + settings.fake_neg_margin : Number.POSITIVE_INFINITY
  const others = settings.include_qq ? groups.filter((_, i) => i !== index).map(([other]) => other as number) : []
  const rest = documents.filter((document) => document !== own)
  const near = [...rest, ...others].map((row) => pair(anchor, row)).filter(({ similarity }) => similarity <= limit)
  const beside = settings.include_dd ? rest.map((document) => pair(own, document)) : []
  return [best, ...near, ...beside]
}

/** A vector of length 1, as embeddings are given out. */
export function unitVector(vector: Float64Array): Float64Array {
  const length = lengthOf(vector)
  return vector.map((x) => x / length)
}

const lengthOf = (vector: Float64Array) => Math.max(Math.sqrt(dot(vector, vector)), 1e-12)

/** d(-loss) by a vector, from the derivative by its unit vector. */
function throughLength(gradient: Float64Array, unit: Float64Array, vector: Float64Array): Float64Array {
  const along = dot(gradient, unit)
  const length = lengthOf(vector)
  return gradient.map((g, i) => (along * (unit[i] as number) - g) / length)
}

const dot = (a: Float64Array, b: Float64Array) => a.reduce((sum, x, i) => sum + x * (b[i] as number), 0)

function addScaled(to: Float64Array, from: Float64Array, scale: number): void {
  for (let i = 0; i < to.length; i++) to[i] = (to[i] as number) + scale * (from[i] as number)
}
