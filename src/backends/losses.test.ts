import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { hasSlope, lossSlope } from '../catalogue/losses/numbers.ts'
import type { TokenLoss } from './losses.ts'
import { lossesOf, lossOf, resolveLoss, TOKEN_LOSSES } from './losses.ts'

const golden = JSON.parse(readFileSync(new URL('transformers/goldens/losses.json', import.meta.url), 'utf8'))
const { current_logprobs: current, logprobs, advantages, weights } = golden.inputs as Record<string, number[]>
const inputs = (i: number) => ({
  weight: weights?.[i] as number,
  old: logprobs?.[i] as number,
  advantage: advantages?.[i] as number,
})

describe.each(Object.entries(golden.cases as Record<string, GoldenCase>))('loss case %s', (_, wanted) => {
  const spec = resolveLoss(wanted.loss_fn, wanted.loss_fn_config)
  const loss = lossOf(spec.name) as TokenLoss

  it('sums to the reference value', () => {
    const sum = (current as number[]).reduce((total, p, i) => total + loss.value(p, inputs(i), spec.config), 0)
    expect(Math.abs(sum - wanted.loss_sum)).toBeLessThan(1e-12 * Math.max(1, Math.abs(wanted.loss_sum)))
  })

  it('has the reference derivative at every target, 0 where an infinite ratio meets advantage 0', () => {
    wanted.dloss_dlogprob.forEach((slope, i) => {
      const found = -lossSlope(current?.[i] as number, loss.numbers(inputs(i), spec.config))
      expect(Math.abs(found - slope), `target ${i}`).toBeLessThanOrEqual(1e-12 * Math.max(1, Math.abs(slope)))
    })
  })
})

interface GoldenCase {
  readonly loss_fn: string
  readonly loss_fn_config: Record<string, number>
  readonly loss_sum: number
  readonly dloss_dlogprob: number[]
}

describe('an infinite ratio', () => {
  const x = { weight: 1, old: -1e4, advantage: 0 }
  it.each(['importance_sampling', 'ppo', 'cispo'])('costs nothing under %s when the advantage is 0', (name) => {
    const { config } = resolveLoss(name)
    expect(TOKEN_LOSSES[name as 'ppo'].value(-1, x, config)).toBeCloseTo(0, 300)
    expect(hasSlope(TOKEN_LOSSES[name as 'ppo'].numbers(x, config))).toBe(false)
  })
})

it('a target of weight 0 costs nothing, even one that the model thinks impossible', () => {
  expect(TOKEN_LOSSES.cross_entropy.value(Number.NEGATIVE_INFINITY, { weight: 0, old: 0, advantage: 0 }, {})).toBe(0)
})

it('names the losses that an engine can compute by their kinds', () => {
  expect(lossesOf(['sequence'])).toEqual(['gspo'])
  expect(lossesOf(['token'])).toEqual(['cross_entropy', 'importance_sampling', 'ppo', 'cispo', 'dro'])
})

describe('resolveLoss', () => {
  it('fills in the documented defaults', () => {
    expect(resolveLoss('ppo').config).toEqual({ clip_low_threshold: 0.8, clip_high_threshold: 1.2 })
    expect(resolveLoss('cispo', { clip_high_threshold: 2 }).config).toEqual({
      clip_low_threshold: 0,
      clip_high_threshold: 2,
    })
  })
  it.each([
    [
      'a loss whose formula is not public',
      'stable_reinforce',
      {},
      'UNSUPPORTED_LOSS',
      /"stable_reinforce".*dro, gspo$/,
    ],
    ['a name that every object has', 'toString', {}, 'UNSUPPORTED_LOSS', /"toString"/],
    ['an unknown key', 'ppo', { epsilon: 0.2 }, 'INVALID_INPUT', /"epsilon".*clip_low_threshold, clip_high_threshold/],
    ['any key where there is none', 'cross_entropy', { beta: 1 }, 'INVALID_INPUT', /"beta"; it takes none/],
    ['a text', 'dro', { beta: '0.1' }, 'INVALID_INPUT', /beta must be a finite number, not "0.1"/],
    ['NaN', 'dro', { beta: Number.NaN }, 'INVALID_INPUT', /not NaN/],
    ['dro without beta', 'dro', {}, 'INVALID_INPUT', /dro needs beta/],
    ['crossed limits', 'ppo', { clip_low_threshold: 2 }, 'INVALID_INPUT', /2 is above clip_high_threshold 1.2/],
  ])('refuses %s', (_, name, config, code, sentence) => {
    expect(() => resolveLoss(name, config)).toThrow(
      expect.objectContaining({ code, category: 'user', message: expect.stringMatching(sentence) }),
    )
  })
})
