import { describe, expect, it } from 'vitest'
import type { TrainingDatum } from './backend.ts'
import { checkDatums } from './datum-check.ts'
import { resolveLoss } from './losses.ts'

const limits = { vocabulary: 100, maxContext: 4 }
const good: TrainingDatum = {
  tokens: Int32Array.of(1, 2, 3),
  targets: Int32Array.of(2, 3, 4),
  width: 1,
  weights: Float32Array.of(0, 1, 1),
  logprobs: Float32Array.of(-1, -1, -1),
  advantages: Float32Array.of(0, 1, -1),
}
const check = (change: Partial<TrainingDatum>, loss = 'ppo') =>
  checkDatums([good, { ...good, ...change }], resolveLoss(loss), limits)

describe('checkDatums', () => {
  it('accepts what can be trained on', () => {
    expect(() => check({})).not.toThrow()
    const { weights: _, ...unweighted } = good
    expect(() => checkDatums([unweighted], resolveLoss('cross_entropy'), limits)).not.toThrow()
    const soft = { targets: new Int32Array(6), weights: new Float32Array(6), width: 2 }
    expect(() => check(soft, 'cross_entropy')).not.toThrow()
  })

  it('refuses a request without datums', () => {
    expect(() => checkDatums([], resolveLoss('ppo'), limits)).toThrow(/no datums/)
  })

  it.each<[string, Partial<TrainingDatum>, string, RegExp]>([
    ['no tokens', { tokens: new Int32Array(0) }, 'ppo', /model_input has no tokens/],
    ['a sequence beyond the context', { tokens: new Int32Array(5) }, 'ppo', /5 tokens, but the model's context is 4/],
    ['a token outside', { tokens: Int32Array.of(1, 100, 3) }, 'ppo', /token 100 at position 1 .* vocabulary of 100/],
    ['a negative token', { tokens: Int32Array.of(-1, 1, 3) }, 'ppo', /token -1 at position 0/],
    ['a target outside', { targets: Int32Array.of(1, 2, -1) }, 'ppo', /target_tokens has -1 at position 2/],
    ['missing targets', { targets: Int32Array.of(1) }, 'ppo', /target_tokens has 1 elements, .* shape \[3\] \(3\)/],
    ['soft targets where there are none', { width: 2, targets: new Int32Array(6) }, 'ppo', /2 targets a position.*ppo/],
    ['no targets a position', { width: 0, targets: new Int32Array(0) }, 'cross_entropy', /0 targets a position/],
    ['short weights', { weights: Float32Array.of(1) }, 'cross_entropy', /weights has 1 elements/],
    ['long advantages', { advantages: new Float32Array(4) }, 'ppo', /advantages has 4 elements/],
    ['a NaN', { advantages: Float32Array.of(0, Number.NaN, 0) }, 'ppo', /advantages has NaN at element 1/],
    ['an infinity', { logprobs: Float32Array.of(0, 0, -Infinity) }, 'dro', /logprobs has -Infinity at element 2/],
    ['a short mask', { sequence_ratio_mask: new Float32Array(2) }, 'gspo', /sequence_ratio_mask has 2 elements/],
    ['a mask of nothing', { sequence_ratio_mask: new Float32Array(3) }, 'gspo', /sequence_ratio_mask is 0 everywhere/],
  ])('refuses %s, by datum', (_, change, loss, sentence) => {
    const spec = loss === 'dro' ? { name: 'dro' as const, config: { beta: 1 } } : resolveLoss(loss)
    expect(() => checkDatums([good, { ...good, ...change }], spec, limits)).toThrow(
      expect.objectContaining({ code: 'INVALID_INPUT', message: expect.stringMatching(sentence) }),
    )
    expect(() => checkDatums([good, { ...good, ...change }], spec, limits)).toThrow(/^datum 1: /)
  })

  it('names what a loss needs', () => {
    const { advantages: _, ...rest } = good
    expect(() => checkDatums([rest], resolveLoss('cispo'), limits)).toThrow(
      /datum 0: advantages is missing; loss cispo needs target_tokens, logprobs, advantages, each of shape \[3\]/,
    )
  })

  it('does not mind bad numbers in tensors that the loss does not read', () => {
    expect(() => check({ advantages: Float32Array.of(Number.NaN, 0, 0) }, 'cross_entropy')).not.toThrow()
  })
})
