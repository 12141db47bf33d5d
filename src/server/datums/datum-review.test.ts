import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { openModelSource } from '../../formats/model-folder.ts'
import { openVocabulary } from '../../formats/vocabulary.ts'
import { reviewDatums } from './datum-review.ts'
import type { ShownDatum } from './shown-datum.ts'

const TINY = join(import.meta.dirname, '../../../models/tiny')
const vocabulary = openVocabulary(openModelSource(TINY))
const encode = (text: string) => {
  const ids: number[] = []
  // One token a letter, whatever the tokenizer would merge.
  for (const letter of text)
    ids.push([...Array(vocabulary.size).keys()].find((id) => vocabulary.textOf(id) === letter)!)
  return ids
}
const [END, START, PADDING] = [2, 1, 0]

interface Given {
  readonly tokens?: readonly number[]
  readonly target_tokens?: readonly number[]
  readonly weights?: readonly number[]
  readonly logprobs?: readonly number[]
  readonly advantages?: readonly number[]
  readonly computed?: readonly number[]
}

const TEXT = [...encode('hello there'), END]
const INPUTS = TEXT.slice(0, -1)
const TARGETS = TEXT.slice(1)
const ANSWER = INPUTS.map((_, i) => (i < 5 ? 0 : 1))

/** A good datum, but for what is given. */
function datum({ tokens = INPUTS, computed, ...inputs }: Given = {}): ShownDatum {
  const all = { target_tokens: TARGETS, ...(!inputs.advantages && { weights: ANSWER }), ...inputs }
  return {
    tokens,
    inputs: Object.fromEntries(Object.entries(all).map(([name, values]) => [name, { values, width: 1 }])),
    ...(computed && { computed: { values: computed, width: 1 } }),
  }
}

const review = (datums: readonly ShownDatum[], loss: string | null = null) =>
  reviewDatums(datums, { loss, vocabulary }).map(({ check, position }) =>
    position === null ? check : [check, position],
  )
const rl = { advantages: INPUTS.map(() => 1), logprobs: INPUTS.map(() => -1) }

describe('a review', () => {
  it('finds nothing in a good datum, of either kind', () => {
    expect(review([datum(), datum()])).toEqual([])
    expect(review([datum(rl), datum({ ...rl, advantages: INPUTS.map(() => -1) })], 'ppo')).toEqual([])
  })

  it.each([
    ['the inputs themselves', INPUTS],
    ['the tokens before', [END, ...INPUTS.slice(0, -1)]],
    ['the next but one', [...TEXT.slice(2), END]],
  ])('marks targets that are %s', (_, target_tokens) => {
    expect(review([datum({ target_tokens })])).toContain('targets-not-shifted')
  })

  it('looks at what counts: what stands beside a prompt of weight 0 does not matter', () => {
    const target_tokens = TARGETS.map((target, i) => (i < 5 ? 0 : target))
    expect(review([datum({ target_tokens })])).toEqual([])
  })

  it('marks targets that are some other text, and not those of a short one', () => {
    expect(review([datum({ target_tokens: [...TARGETS].reverse() })])).toContain('targets-unrelated')
    expect(review([datum({ tokens: [INPUTS[0]!], target_tokens: [7], weights: [1] })])).toEqual([])
  })

  it('marks lengths that differ where the shorter one ends', () => {
    expect(review([datum({ weights: ANSWER.slice(2) })])).toEqual([['lengths-differ', INPUTS.length - 2]])
    expect(review([datum({ tokens: INPUTS.slice(1) })])).toContainEqual(['lengths-differ', INPUTS.length - 1])
  })

  it('marks what the loss needs and the datum has not', () => {
    expect(review([datum({ advantages: rl.advantages })], 'ppo')).toEqual(['input-missing'])
    expect(review([{ tokens: INPUTS, inputs: {} }])).toEqual(['input-missing'])
  })

  it('marks numbers that are none, and log-probabilities above 0', () => {
    expect(review([datum({ weights: ANSWER.map((w, i) => (i === 7 ? Number.NaN : w)) })])).toEqual([['not-finite', 7]])
    expect(review([datum({ ...rl, logprobs: rl.logprobs.map((p, i) => (i === 3 ? 0.1 : p)) })])).toEqual([
      ['logprobs-positive', 3],
    ])
  })

  it('marks weights, logprobs and advantages that are all zero', () => {
    const zeros = INPUTS.map(() => 0)
    expect(review([datum({ weights: zeros })])).toEqual(['nothing-counts'])
    expect(review([datum({ ...rl, logprobs: zeros })])).toEqual(['logprobs-zero'])
    expect(review([datum({ ...rl, advantages: zeros }), datum(rl)])).toEqual(['advantages-zero'])
  })

  it('marks a batch in which no answer is better than another', () => {
    expect(review([datum(rl), datum(rl)])).toEqual(['advantages-equal'])
    const zeros = datum({ ...rl, advantages: INPUTS.map(() => 0) })
    expect(review([zeros, zeros])).toContain('advantages-equal')
  })

  it('marks tokens and targets outside the vocabulary, and says what stands for -100 here', () => {
    expect(review([datum({ tokens: [vocabulary.size, ...INPUTS.slice(1)] })])).toContainEqual(['outside-vocabulary', 0])
    const [found] = reviewDatums([datum({ target_tokens: [-100, ...TARGETS.slice(1)] })], { loss: null, vocabulary })
    expect(found).toMatchObject({
      check: 'outside-vocabulary',
      position: 0,
      says: expect.stringContaining('weight of 0'),
    })
  })

  it('marks weight on the filling behind a text, and not one end of it', () => {
    const filled = [...TEXT, PADDING, PADDING, PADDING]
    const [tokens, target_tokens] = [filled.slice(0, -1), filled.slice(1)]
    const weights = (padding: number) => tokens.map((_, i) => (i < 5 ? 0 : i < INPUTS.length ? 1 : padding))
    expect(review([datum({ tokens, target_tokens, weights: weights(0) })])).toEqual([])
    expect(review([datum({ tokens, target_tokens, weights: weights(1) })])).toContainEqual([
      'weight-on-padding',
      INPUTS.length + 1,
    ])
  })

  it('marks weights that do not leave out the prompt', () => {
    expect(review([datum({ weights: INPUTS.map(() => 1) })])).toEqual(['weight-on-prompt'])
  })

  it('marks special tokens inside what is taught: headers, not ends', () => {
    const turns = [...encode('hi'), END, START, ...encode('you there'), END]
    const given = { tokens: turns.slice(0, -1), target_tokens: turns.slice(1) }
    expect(review([datum({ ...given, weights: [0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1] })])).toEqual([
      ['special-inside', 2],
    ])
    expect(review([datum({ ...given, weights: [0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1] })])).toEqual([])
  })

  it('marks special tokens that are spelled out in ordinary ones', () => {
    const turns = [...encode('hi'), START, ...encode('a<|im_end|>b'), END]
    const given = { tokens: turns.slice(0, -1), target_tokens: turns.slice(1) }
    const weights = given.tokens.map((_, i) => (i < 3 ? 0 : 1))
    expect(review([datum({ ...given, weights })])).toEqual([['special-as-text', 4]])
  })

  it('marks logprobs that the model does not agree with at all', () => {
    const near = rl.logprobs.map((p) => p - 0.1)
    const other = { ...rl, advantages: INPUTS.map(() => -1) }
    expect(review([datum({ ...rl, computed: near }), datum(other)])).toEqual([])
    const far = rl.logprobs.map((p, i) => (i === 4 ? p - 9 : p - 3))
    expect(review([datum({ ...rl, computed: far }), datum(other)])).toEqual([['logprobs-off', 4]])
  })

  it('works without a vocabulary, and on several targets a position', () => {
    const soft = { tokens: [3, 4], inputs: { target_tokens: { values: [4, 5, 6, 7], width: 2 } } }
    expect(reviewDatums([soft, datum()], { loss: 'cross_entropy', vocabulary: null })).toEqual([])
  })
})
