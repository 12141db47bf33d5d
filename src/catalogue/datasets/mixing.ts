// Several data sets as one: one after the other, or in turns. Works on lengths alone.

export type Mixing = 'alone' | 'interleaved' | 'joined'

/** Which row of which data set stands at each place. `again`: short ones begin anew until the longest ends. */
export function mixed(lengths: readonly number[], mixing: Mixing, again: boolean): [source: number, row: number][] {
  if (mixing === 'alone') return placesOf(0, lengths[0] ?? 0)
  if (mixing === 'joined') return lengths.flatMap((length, source) => placesOf(source, length))
  const rounds = again ? Math.max(...lengths) : Math.min(...lengths)
  if (lengths.includes(0)) return []
  return Array.from({ length: rounds * lengths.length }, (_, place) => {
    const source = place % lengths.length
    return [source, Math.floor(place / lengths.length) % (lengths[source] as number)]
  })
}

const placesOf = (source: number, length: number): [number, number][] =>
  Array.from({ length }, (_, row) => [source, row])
