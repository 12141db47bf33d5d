// What reinforcement learning is steered by: how far the policy has moved from the one that sampled, and how much of it is
// clipped. The KL estimate is Schulman's k3, r - 1 - log r ("Approximating KL divergence", 2020). The four metrics differ in
// what clipping means for their loss.

import type { Arguments } from '../arguments.ts'
import { finite, type MetricResult, type MetricRow, metric, onlyIgnoreIndex, plus, positions } from './metric.ts'

const NOTHING = {
  ...{ tokens: 0, current: 0, old: 0, difference: 0, kl: 0, klMax: 0, ratioMax: 0, oldTokens: 0 },
  ...{ entropy: 0, entropyTokens: 0, low: 0, high: 0, judged: 0 },
}
type Sums = typeof NOTHING

interface Config {
  readonly low: number
  readonly high: number
  readonly temperature: number
  readonly [key: string]: number
}

/** Log ratios and advantages of the positions of a row that count. */
interface Judged {
  readonly ratios: readonly number[]
  readonly advantages: readonly number[]
}
type Clipped = (judged: Judged, config: Config) => Pick<Sums, 'low' | 'high' | 'judged'>

function read(args: Arguments): Config {
  onlyIgnoreIndex(args)
  // Single tokens of others' prompts are not for a metric to tell.
  args.only('top_k_kl', 0)
  const epsilon = args.number('epsilon', 0.2, { atLeast: 0 })
  const high = args.numberOrNull('epsilon_high', null, { atLeast: 0 }) ?? epsilon
  const temperature = args.number('temperature', 1, { above: 0 })
  return { low: 1 - epsilon, high: 1 + high, temperature }
}

const policyMetric = (clipped: Clipped) =>
  metric({
    read,
    begin: () => NOTHING,
    add: (config: Config, counts: Sums, { rows }) => {
      let sums = counts
      for (const row of rows) {
        const { klMax, ratioMax, ...more } = ofRow(config, row, clipped)
        sums = { ...plus(sums, more), klMax: Math.max(sums.klMax, klMax), ratioMax: Math.max(sums.ratioMax, ratioMax) }
      }
      return sums
    },
    result: (_, sums): MetricResult => {
      const { tokens, oldTokens, entropyTokens, judged } = sums
      if (tokens === 0) return {}
      const confidence = sums.current / tokens
      return {
        'train/policy_confidence': Math.exp(confidence),
        'train/mean_new_logp': confidence,
        ...(oldTokens > 0 && {
          'train/mean_old_logp': sums.old / tokens,
          'train/logp_diff_mean': sums.difference / tokens,
          'train/approx_kl': sums.kl / tokens,
          'train/token_kl_max': sums.klMax,
          'train/token_ratio_max': sums.ratioMax,
        }),
        ...(entropyTokens > 0 && { 'train/entropy': sums.entropy / entropyTokens }),
        ...(judged > 0 && {
          'train/clip_ratio_low': sums.low / judged,
          'train/clip_ratio_high': sums.high / judged,
          'train/clip_ratio': (sums.low + sums.high) / judged,
        }),
      }
    },
  })

/** Log-probabilities of a policy at a temperature are brought back to temperature 1 by multiplying, old and new alike. */
function ofRow(config: Config, row: MetricRow, clipped: Clipped): Sums {
  const { logps, logprobs, advantages, entropies } = row
  const sums = { ...NOTHING }
  const judged = { ratios: [] as number[], advantages: [] as number[] }
  positions(row, (i) => {
    const current = (logps[i] as number) * config.temperature
    sums.tokens++
    sums.current += current
    if (entropies) {
      sums.entropy += entropies[i] ?? 0
      sums.entropyTokens++
    }
    if (!logprobs) return
    const old = (logprobs[i] ?? 0) * config.temperature
    const difference = current - old
    const ratio = finite(Math.exp(difference))
    const kl = finite(ratio - difference - 1)
    sums.oldTokens++
    sums.old += old
    sums.difference += difference
    sums.kl = finite(sums.kl + kl)
    sums.klMax = Math.max(sums.klMax, kl)
    sums.ratioMax = Math.max(sums.ratioMax, ratio)
    judged.ratios.push(difference)
    judged.advantages.push(advantages?.[i] ?? 0)
  })
  if (!logprobs || !advantages || sums.tokens === 0) return sums
  return { ...sums, ...clipped(judged, config) }
}

/** A token counts where its advantage would push its ratio further out. */
const byAdvantage: Clipped = ({ ratios, advantages }, { low, high }) => {
  let [below, above] = [0, 0]
  ratios.forEach((difference, i) => {
    const [ratio, advantage] = [Math.exp(difference), advantages[i] as number]
    if (ratio < low && advantage < 0) below++
    if (ratio > high && advantage > 0) above++
  })
  return { low: below, high: above, judged: ratios.length }
}

/** Whatever the advantage is. */
const always: Clipped = ({ ratios }, { low, high }) => ({
  low: ratios.filter((difference) => Math.exp(difference) < low).length,
  high: ratios.filter((difference) => Math.exp(difference) > high).length,
  judged: ratios.length,
})

/** The sequence as one, by the geometric mean of its ratios. */
const bySequence: Clipped = ({ ratios, advantages }, config) => {
  const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length
  return byAdvantage({ ratios: [mean(ratios)], advantages: [mean(advantages)] }, config)
}

export const grpoMetric = policyMetric(byAdvantage)
export const ppoMetric = policyMetric(byAdvantage)
export const gspoMetric = policyMetric(bySequence)
export const cispoMetric = policyMetric(always)
