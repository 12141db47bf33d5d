// "Did you mean": which of a few known names an unknown one was probably meant to be. Knows nothing of what is named.

/** The nearest candidates, best first: those within a third of the name's length in edits, or that hold it as a part. */
export function nearest(name: string, candidates: readonly string[], limit = 3): string[] {
  const wanted = name.toLowerCase()
  const allowed = Math.max(1, Math.floor(wanted.length / 3))
  return candidates
    .map((candidate) => ({ candidate, distance: distanceOf(wanted, candidate.toLowerCase()) }))
    .filter(({ candidate, distance }) => distance <= allowed || (wanted.length > 2 && isPart(wanted, candidate)))
    .sort((a, b) => a.distance - b.distance)
    .slice(0, limit)
    .map(({ candidate }) => candidate)
}

/** ` (did you mean X?)`, or nothing when no candidate is near. */
export function didYouMean(name: string, candidates: readonly string[]): string {
  const [best] = nearest(name, candidates, 1)
  return best === undefined ? '' : ` (did you mean ${best}?)`
}

function isPart(wanted: string, candidate: string): boolean {
  return candidate.toLowerCase().includes(wanted)
}

/** Edits (insert, delete, replace, swap of neighbours) from one text to the other. */
function distanceOf(from: string, to: string): number {
  let beforeLast: number[] = []
  let last = Array.from({ length: to.length + 1 }, (_, j) => j)
  for (let i = 1; i <= from.length; i++) {
    const row = [i]
    for (let j = 1; j <= to.length; j++) {
      const same = from[i - 1] === to[j - 1]
      let best = Math.min(last[j]! + 1, row[j - 1]! + 1, last[j - 1]! + (same ? 0 : 1))
      if (i > 1 && j > 1 && from[i - 1] === to[j - 2] && from[i - 2] === to[j - 1]) {
        best = Math.min(best, beforeLast[j - 2]! + 1)
      }
      row.push(best)
    }
    beforeLast = last
    last = row
  }
  return last[to.length]!
}
