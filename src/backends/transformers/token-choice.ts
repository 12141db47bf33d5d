// Draws one token from the best tokens of a distribution, in float64. It walks the tokens from the likeliest on, so the
// answer is the same however many of them it was given, as long as they were enough; when not, it says so.
// Order of the filters: temperature, top_k, renormalise, top_p (the token that crosses it is kept), renormalise.

export interface Candidates {
  /** Best first. */
  readonly logits: ArrayLike<number>
  /** Sum of exp((logit - best) / temperature) over the whole vocabulary. */
  readonly temperedSum: number
}

export interface ChoiceRule {
  /** 0 = greedy. */
  readonly temperature: number
  /** 0 = all. */
  readonly topK: number
  /** 1 = all. */
  readonly topP: number
}

/**
 * The index of the chosen candidate for a `draw` in [0, 1); undefined when more candidates are needed to tell.
 */
export function chooseToken(
  { logits, temperedSum }: Candidates,
  rule: ChoiceRule,
  vocabulary: number,
  draw: number,
): number | undefined {
  if (rule.temperature === 0 || rule.topK === 1) return 0
  const known = logits.length
  const limit = rule.topK === 0 ? vocabulary : Math.min(rule.topK, vocabulary)
  if (rule.topK > 0 && known < limit) return undefined
  const weight = (i: number) => Math.exp(((logits[i] as number) - (logits[0] as number)) / rule.temperature)
  const kept = keptMass(weight, rule, temperedSum, limit, known)
  if (kept === undefined) return undefined
  const goal = draw * kept.mass
  let sum = 0
  for (let i = 0; i < Math.min(known, kept.count); i++) {
    sum += weight(i)
    if (sum > goal) return i
  }
  // All is known and rounding left a sliver above the sum: it belongs to nobody, so the likeliest takes it.
  return known >= kept.count ? 0 : undefined
}

/** How many tokens the filters keep and the sum of their weights; undefined when more candidates are needed to tell. */
function keptMass(
  weight: (i: number) => number,
  { topK, topP }: ChoiceRule,
  temperedSum: number,
  limit: number,
  known: number,
): { count: number; mass: number } | undefined {
  let mass = temperedSum
  if (topK > 0) {
    mass = 0
    for (let i = 0; i < limit; i++) mass += weight(i)
  }
  if (topP >= 1) return { count: limit, mass }
  const goal = topP * mass
  let sum = 0
  for (let i = 0; i < Math.min(known, limit); i++) {
    sum += weight(i)
    if (sum >= goal) return { count: i + 1, mass: sum }
  }
  return known >= limit ? { count: limit, mass: sum } : undefined
}
