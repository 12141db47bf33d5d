// Which rows go together into one, so that few tokens of a row are left empty: best fit, the longest first (arXiv:2404.10830).
// Rows are looked at in portions; what did not fill up is looked at again with the next.

const PORTION = 1000

/** Indices of rows, a list for each packed row. A row that is longer than `most` stays alone. */
export function groupsOf(lengths: readonly number[], most: number): number[][] {
  const groups: number[][] = []
  let open: number[] = []
  for (let from = 0; from < lengths.length; from += PORTION) {
    const portion = lengths.slice(from, from + PORTION).map((_, i) => from + i)
    const isLast = from + PORTION >= lengths.length
    const bins = bestFit([...open, ...portion], (i) => lengths[i] as number, most)
    open = isLast ? [] : (bins.pop() ?? [])
    groups.push(...bins)
  }
  return groups
}

/** Each item goes where the least room is left after it. */
export function bestFit<T>(items: readonly T[], sizeOf: (item: T) => number, most: number): T[][] {
  const bins: { items: T[]; size: number }[] = []
  for (const item of [...items].sort((a, b) => sizeOf(b) - sizeOf(a))) {
    const size = sizeOf(item)
    let best: (typeof bins)[number] | undefined
    for (const bin of bins) if (bin.size + size <= most && (!best || bin.size > best.size)) best = bin
    if (best) {
      best.items.push(item)
      best.size += size
    } else bins.push({ items: [item], size })
  }
  return bins.map(({ items }) => items)
}
