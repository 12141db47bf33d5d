// Numbers by hand from the papers' formulas; deviations lose one degree of freedom, but for GAE's.

import { describe, expect, it } from 'vitest'
import { GAEAdvantage, GRPOAdvantage, RLOOAdvantage, tokenRewards } from './index.ts'

const close = (values: readonly number[], digits = 6) => values.map((value) => expect.closeTo(value, digits))

describe('GRPO', () => {
  // Two prompts, four answers each: means 0.5 and 0.25; deviations 1 / sqrt(3) and 0.5.
  const rewards = [0, 1, 0, 1, 1, 0, 0, 0]

  it('subtracts the mean of the group and divides by its deviation', () => {
    const group = (1 / 2) * Math.sqrt(3)
    expect(GRPOAdvantage(rewards, { numGenerations: 4 })).toEqual(
      close([-group, group, -group, group, 1.5, -0.5, -0.5, -0.5]),
    )
  })

  it('divides by the deviation of the batch, or by nothing', () => {
    // Squares around the mean 3/8: 5 * 9/64 + 3 * 25/64 = 120/64, over 7.
    const deviation = Math.sqrt(120 / 64 / 7)
    const plain = [-0.5, 0.5, -0.5, 0.5, 0.75, -0.25, -0.25, -0.25]
    expect(GRPOAdvantage(rewards, { numGenerations: 4, scale: 'none' })).toEqual(plain)
    expect(GRPOAdvantage(rewards, { numGenerations: 4, scale: 'batch' })).toEqual(
      close(plain.map((a) => a / deviation)),
    )
  })

  it('of equal rewards is zero, and sums several rewards of one answer', () => {
    expect(GRPOAdvantage([1, 1], { numGenerations: 2 })).toEqual([0, 0])
    expect(
      GRPOAdvantage(
        [
          [1, 1],
          [0, 0],
        ],
        { numGenerations: 2, scale: 'none' },
      ),
    ).toEqual([1, -1])
  })

  it('with one answer a prompt compares within the batch, or leaves rewards alone', () => {
    expect(GRPOAdvantage([1, 3])).toEqual([1, 3])
    expect(GRPOAdvantage([1, 3], { scale: 'none' })).toEqual([-1, 1])
    expect(GRPOAdvantage([1, 3], { scale: 'batch' })).toEqual(close([-Math.SQRT1_2, Math.SQRT1_2]))
    expect(GRPOAdvantage([3], { scale: 'batch' })).toEqual([0])
  })

  it('refuses groups that do not fit', () => {
    expect(() => GRPOAdvantage([1, 2, 3], { numGenerations: 2 })).toThrow('cannot take num_generations = 2')
    expect(() => GRPOAdvantage([1], { numGenerations: 0 })).toThrow('cannot take num_generations = 0')
  })
})

describe('RLOO', () => {
  it('subtracts the mean of the others', () => {
    expect(RLOOAdvantage([1, 2, 6], { numGenerations: 3, scale: 'none' })).toEqual([-3, -1.5, 4.5])
    // The deviation of 1, 2, 6 is sqrt(7).
    expect(RLOOAdvantage([1, 2, 6], { numGenerations: 3 })).toEqual(close([-3, -1.5, 4.5].map((a) => a / Math.sqrt(7))))
  })

  it('needs others', () => {
    expect(() => RLOOAdvantage([1, 2])).toThrow(
      expect.objectContaining({ next: expect.stringContaining('a whole number from 2') }),
    )
  })
})

describe('GAE', () => {
  const rewards = [[0, 0, 1]]
  const values = [[0.5, 0.25, 0.5]]

  it('follows the recursion from the end', () => {
    // delta: 1 - 0.5 = 0.5; 0.5 * 0.5 - 0.25 = 0; 0.5 * 0.25 - 0.5 = -0.375. gamma lambda = 0.25.
    const { advantages, returns } = GAEAdvantage(rewards, values, { gamma: 0.5, gaeLambda: 0.5, normalize: false })
    expect(advantages).toEqual([close([-0.375 + 0.25 * 0.125, 0.125, 0.5])])
    expect(returns).toEqual([close([0.5 - 0.34375, 0.375, 1])])
  })

  it('leaves masked tokens out, as if they were not there', () => {
    const masked = GAEAdvantage([[0, 9, 0, 1]], [[0.5, 9, 0.25, 0.5]], {
      ...{ gamma: 0.5, gaeLambda: 0.5, normalize: false },
      masks: [[true, false, true, true]],
    })
    expect(masked.advantages).toEqual([close([-0.34375, 0, 0.125, 0.5])])
    expect(masked.returns[0]?.[1]).toBe(0)
  })

  it('is normalised over the whole batch, returns are not', () => {
    const { advantages, returns } = GAEAdvantage([[1], [3]], [[0], [0]])
    expect(advantages).toEqual([close([-1]), close([1])])
    expect(returns).toEqual([[1], [3]])
  })

  it('refuses shapes and fractions that do not fit', () => {
    expect(() => GAEAdvantage([[1]], [[1, 2]])).toThrow('cannot take values = [2]')
    expect(() => GAEAdvantage([[1]], [[1]], { gamma: 1.5 })).toThrow('cannot take gamma = 1.5')
  })

  it('begins with rewards on last tokens, and a penalty for leaving the reference', () => {
    expect(tokenRewards([1, 2], [2, 1])).toEqual([[0, 1], [2]])
    const kl = { oldLogps: [[-1, -2]], refLogps: [[-2, -2]], klCoef: 0.5 }
    expect(tokenRewards([1], [2], kl)).toEqual([[-0.5, 1]])
    expect(() => tokenRewards([1], [3], kl)).toThrow('cannot take old_logps = 2')
  })
})
