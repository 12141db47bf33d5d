// Advantages of answers that were drawn in groups, one group for each prompt: how much better than the others of its group an
// answer is. GRPO: Shao et al. 2024 (arXiv:2402.03300); leave-one-out: Ahmadian et al. 2024 (arXiv:2402.14740).
// Deviations are those of samples (n - 1), as in torch's `std`.

import { invalidArgument } from '../catalogue-error.ts'
import { deviation, EPSILON, groupsOf, mean } from './statistics.ts'

/** What advantages are divided by: the deviation of their group, of the whole batch, or nothing. */
type Scale = 'group' | 'batch' | 'none'

interface GroupOptions {
  /** Answers of one prompt, which stand next to each other. Default 1. */
  readonly numGenerations?: number
  /** Default `group`. */
  readonly scale?: Scale
}

/** One number for each answer, or several that are summed. */
type Rewards = readonly (number | readonly number[])[]

/**
 * reward - mean of its group. With one answer a prompt the batch is the group where the scale is `batch` or `none`, and the
 * rewards are taken as they are where it is `group`. Throws CatalogueError INVALID_ARGUMENT.
 */
export function GRPOAdvantage(given: Rewards, { numGenerations = 1, scale = 'group' }: GroupOptions = {}): number[] {
  const rewards = checked('GRPOAdvantage', given, numGenerations, 1)
  if (numGenerations > 1) return scaled(rewards, numGenerations, scale, (reward, group) => reward - mean(group))
  if (scale === 'group') return rewards
  const middle = mean(rewards)
  const by = scale === 'none' ? 1 : rewards.length > 1 ? deviation(rewards, 1) + EPSILON : 1 + EPSILON
  return rewards.map((reward) => (reward - middle) / by)
}

/** reward - mean of the others of its group. Throws CatalogueError INVALID_ARGUMENT. */
export function RLOOAdvantage(given: Rewards, { numGenerations = 1, scale = 'group' }: GroupOptions = {}): number[] {
  const rewards = checked('RLOOAdvantage', given, numGenerations, 2)
  return scaled(rewards, numGenerations, scale, (reward, group) => {
    const others = group.reduce((sum, other) => sum + other, 0) - reward
    return reward - others / (numGenerations - 1)
  })
}

/** Deviations are those of the rewards, not of the advantages. */
function scaled(
  rewards: readonly number[],
  size: number,
  scale: Scale,
  advantage: (reward: number, group: readonly number[]) => number,
): number[] {
  const whole = scale === 'batch' ? deviation(rewards, 1) : 0
  return groupsOf(rewards, size).flatMap((group) => {
    const by = scale === 'none' ? 1 : (scale === 'batch' ? whole : deviation(group, 1)) + EPSILON
    return group.map((reward) => advantage(reward, group) / by)
  })
}

function checked(name: string, given: Rewards, size: number, least: number): number[] {
  const rewards = given.map((reward) => (typeof reward === 'number' ? reward : reward.reduce((sum, r) => sum + r, 0)))
  const wanted = `a whole number from ${least} that divides the number of rewards, ${rewards.length}`
  if (Number.isInteger(size) && size >= least && rewards.length % size === 0) return rewards
  throw invalidArgument('advantage', name, 'num_generations', size, wanted)
}
