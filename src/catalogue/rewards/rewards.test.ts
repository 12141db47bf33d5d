import { describe, expect, it } from 'vitest'
import { evaluate } from './expression.ts'
import { createReward } from './index.ts'
import { isSame } from './math.ts'
import { normalAnswer } from './olympiad-answer.ts'

const said = (content: unknown, ...user_data: unknown[]) => ({
  messages: [
    { role: 'user', content: 'Q' },
    { role: 'assistant', content },
  ],
  user_data,
})
const scores = (name: string, ...rows: ReturnType<typeof said>[]) => createReward(name)(rows)
const truth = (value: string) => ['ground_truth', value]

describe('FormatReward', () => {
  it('wants a thought and an answer', () => {
    const full = '<think>a\nb</think> <answer>1</answer>'
    expect(
      scores('FormatReward', said(full), said('<think>a</think> 1'), said('</think><think><answer></answer>')),
    ).toEqual([1, 0, 0])
    expect(createReward('FormatReward')([{ messages: [{ role: 'user', content: full }] }, {}])).toEqual([0, 0])
  })
})

describe('GSM8K', () => {
  it('compares numbers in a box, or behind ####', () => {
    expect(
      scores(
        'GSM8KAccuracyReward',
        said('so \\boxed{1,234.0}', truth('1234')),
        said('#### 5\nno: #### 7', truth('7')),
        said('\\boxed{3} #### 7', truth('7')),
        said('seven', truth('7')),
        said('\\boxed{}', truth('')),
      ),
    ).toEqual([1, 1, 0, 0, 0])
  })

  it('looks at the end only', () => {
    expect(scores('GSM8KAccuracyReward', said(`\\boxed{7}${' '.repeat(600)}`, truth('7')))).toEqual([0])
  })

  it('wants one of the two ways', () => {
    expect(scores('GSM8KFormatReward', said('\\boxed{x}'), said('#### 3'), said('\\boxed{'), said('3'))).toEqual([
      1, 1, 0, 0,
    ])
  })
})

describe('MathReward', () => {
  const reward = createReward('MathReward')

  it.each([
    ['1/2', '\\frac{1}{2}'],
    ['\\frac12', '0.5'],
    ['2\\sqrt{3}', '\\sqrt{12}'],
    ['x(x+1)', 'x^2 + x'],
    ['(a+b)^2', 'a^2+2ab+b^2'],
    ['-3', '\\left(-3\\right)'],
    ['2\\pi', '2 \\cdot \\pi'],
    ['2^{-1}', '.5'],
    ['\\text{(A)}', '\\text{(A)}'],
  ])('%s is %s', (a, b) => expect(isSame(a, b)).toBe(true))

  it.each([
    ['1/2', '1/3'],
    ['x', 'y'],
    ['3', 'three'],
    ['1/0', '2/0'],
    ['(1,2)', '(2,1)'],
    ['', '0'],
    ['x+', 'x'],
  ])('%s is not %s', (a, b) => expect(isSame(a, b)).toBe(false))

  it('takes the right answer from what the row noted, or from its last message', () => {
    const answers = [said('So \\boxed{\\frac{4}{8}}.'), said('# Answer\n$0.5$'), said('2')]
    const noted = answers.map(() => ({ user_data: [['solution', 'Thus \\boxed{0.5}']] }))
    expect(reward(answers, noted)).toEqual([1, 1, 0])
    expect(
      reward(
        answers,
        answers.map(() => said('\\boxed{1/2}')),
      ),
    ).toEqual([1, 1, 0])
    expect(createReward('MathReward', { ground_truth_key: 'a' })([said('3')], [{ user_data: [['a', '3']] }])).toEqual([
      1,
    ])
  })

  it('does not read what is no small expression', () => {
    for (const text of ['('.repeat(200), 'import os', '1'.repeat(300), '\\boxed', '2^^2', '9^9^9^9']) {
      expect(evaluate(text, () => 1)).toBeNull()
    }
  })
})

describe('OlympiadBench', () => {
  it.each([
    ['$\\dfrac{3}{2}$ m/s', '(3)/(2)'],
    ['３，４', '3,4'],
    ['\\left[0, +\\infty\\right)', '[0,infty)'],
    ['3:2', '(3)/(2)'],
    ['x_{1}^{2}', 'x_1^2'],
    ['5 \\mathrm{kg}', '5'],
    ['30°', '30'],
    ['12 N.', '12'],
    ['\\sqrt{2}', 'sqrt(2)'],
  ])('writes %s as %s', (answer, normal) => expect(normalAnswer(answer)).toBe(normal))

  it('rewards the right answer, a near number a little, and parts of several', () => {
    const several = [truth('1, 2, (3,4)'), ['is_multiple_answer', true]]
    expect(
      scores(
        'OlympiadBenchAccuracyReward',
        said('\\boxed{2} or \\boxed{\\frac{3}{2}}', truth('3/2')),
        said('\\boxed{100.5}', truth('100')),
        said('\\boxed{110}', truth('100')),
        said('\\boxed{x}', truth('100')),
        said('100', truth('100')),
        said('\\boxed{2}, \\boxed{(3,4)}', ...several),
        said([{ type: 'text', text: '\\boxed{\\{1\\}}' }], truth('\\{1\\}')),
      ),
    ).toEqual([1, 1, expect.closeTo(0.99 * Math.exp(-0.5), 12), 0, 0, expect.closeTo(2 / 3, 12), 1])
  })

  it('ends with answers that are made to be slow', () => {
    const slow = ['1'.repeat(2 ** 18), `x${'.,'.repeat(2 ** 17)}x`].map((answer) =>
      said(`\\boxed{${answer}}`, truth('1')),
    )
    expect(scores('OlympiadBenchAccuracyReward', ...slow)).toEqual([0, 0])
    const many = said('\\boxed{1}'.repeat(1000), truth('2,'.repeat(1000)), ['is_multiple_answer', true])
    expect(() => scores('OlympiadBenchAccuracyReward', many)).toThrow('1000 boxed answers and 1000 right ones')
  })

  it('rewards one answer at the end', () => {
    const early = `\\boxed{1}${'.'.repeat(300)}`
    const rows = [
      'none',
      '\\boxed{1}',
      '\\boxed{1} \\boxed{1.}',
      '\\boxed{1} \\boxed{2}',
      `\\boxed{1}\\boxed{2}${early.replace('1', '3')}`,
      early,
    ]
    expect(scores('OlympiadBenchFormatReward', ...rows.map((row) => said(row)))).toEqual(
      [0, 1, 1, 0.7, 0.1, 0.7].map((score) => expect.closeTo(score, 12)),
    )
  })

  it('rewards reasoning, a good length and little repetition', () => {
    // No equation, no word of order, no box: 0 + 0.3 * 0.003 + 0.3.
    expect(scores('OlympiadBenchQualityReward', said('x'))).toEqual([expect.closeTo(0.3 * 0.003 + 0.3, 12)])
    const good = 'First, a = 1 + 2 = 3. Then b = a * 4 - 5 = 7 / 1 ^ 1. Therefore \\boxed{7}'
    expect(scores('OlympiadBenchQualityReward', said(good))).toEqual([
      expect.closeTo(0.4 + 0.3 * 0.3 * (good.length / 100) + 0.3, 12),
    ])
    const [long, endless, tedious] = scores(
      'OlympiadBenchQualityReward',
      ...[2250, 9000].map((n) => said('x'.repeat(n))),
      said('word '.repeat(150)),
    ) as [number, number, number]
    // Of one letter: pieces are all alike, and there are no four words.
    const pieces = (n: number) => 1 / Math.ceil((n - 50) / 25)
    expect(long).toBeCloseTo(0.3 * (0.5 + 0.5 * Math.cos(Math.PI / 4)) + 0.15 * (pieces(2250) + 1), 12)
    expect(endless).toBeCloseTo(0.3 * 0.25 + 0.15 * (pieces(9000) + 1), 12)
    expect(tedious).toBeLessThan(0.32)
  })
})

describe('refused by name:', () => {
  it.each<[string, () => unknown, string]>([
    ['an unknown reward', () => createReward('LengthReward'), 'There is no reward "LengthReward".'],
    [
      'a reward about images',
      () => createReward('MultiModalAccuracyReward'),
      'The reward "MultiModalAccuracyReward" is not done here',
    ],
    [
      'an unknown argument',
      () => createReward('FormatReward', { tag: 'x' }),
      'The reward FormatReward has no argument "tag".',
    ],
  ])('%s', (_, act, message) => expect(act).toThrow(message))
})
