// The rewards by name.

import { Arguments, type Kwargs } from '../arguments.ts'
import { unknownName, unsupportedName } from '../catalogue-error.ts'
import { FormatReward } from './format.ts'
import { GSM8KAccuracyReward, GSM8KFormatReward } from './gsm8k.ts'
import { MathReward } from './math.ts'
import { OlympiadBenchAccuracyReward, OlympiadBenchFormatReward, OlympiadBenchQualityReward } from './olympiad-bench.ts'
import type { MakeReward, Reward } from './reward.ts'

export type { Reward } from './reward.ts'

const REWARDS: Readonly<Record<string, MakeReward>> = {
  FormatReward,
  GSM8KAccuracyReward,
  GSM8KFormatReward,
  MathReward,
  OlympiadBenchAccuracyReward,
  OlympiadBenchFormatReward,
  OlympiadBenchQualityReward,
}

export const REWARD_NAMES = Object.keys(REWARDS)

/** Throws CatalogueError: UNKNOWN_NAME, UNSUPPORTED_NAME and those of arguments. */
export function createReward(name: string, kwargs: Kwargs = {}): Reward {
  if (name === 'MultiModalAccuracyReward') {
    throw unsupportedName(
      'reward',
      name,
      'it judges answers about images, which the text models served here cannot read',
      REWARD_NAMES,
    )
  }
  const make = Object.hasOwn(REWARDS, name) ? REWARDS[name] : undefined
  if (!make) throw unknownName('reward', name, REWARD_NAMES)
  const args = new Arguments('reward', name, kwargs)
  const reward = make(args)
  args.end()
  return reward
}
