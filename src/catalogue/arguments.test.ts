import { describe, expect, it } from 'vitest'
import { Arguments, type Kwargs } from './arguments.ts'
import { unknownName } from './catalogue-error.ts'

const given = (kwargs: Kwargs) => new Arguments('optimizer', 'SGD', kwargs)

describe('arguments', () => {
  it('have defaults, and values where they are given', () => {
    const args = given({ lr: 0.5, betas: [0.8, 0.9], nesterov: true, clip: null })
    expect(args.number('lr', 1)).toBe(0.5)
    expect(args.number('momentum', 0)).toBe(0)
    expect(args.numbers('betas', [0, 0], {}, 2)).toEqual([0.8, 0.9])
    expect(args.boolean('nesterov', false)).toBe(true)
    expect(args.numberOrNull('clip', 1)).toBeNull()
    args.end()
  })

  it.each<[string, (args: Arguments) => unknown, string]>([
    ['"0.1"', (a) => a.number('lr', 1, { above: 0 }), 'It must be a finite number above 0.'],
    ['0', (a) => a.number('lr', 1, { above: 0 }), 'It must be a finite number above 0.'],
    ['null', (a) => a.number('lr', 1), 'It must be a finite number.'],
    ['true', (a) => a.integer('lr', 1), 'It must be a whole number.'],
    [
      '1.5',
      (a) => a.integer('lr', 1, { atLeast: 0, below: 9 }),
      'It must be a whole number of at least 0 and below 9.',
    ],
    ['1', (a) => a.boolean('lr', false), 'It must be true or false.'],
    ['1', (a) => a.text('lr', 'x'), 'It must be a text.'],
    ['["x"]', (a) => a.textOrNull('lr', null), 'It must be a text, or null.'],
    ['[1]', (a) => a.numbers('lr', [], {}, 2), 'It must be a list of 2 numbers.'],
    ['["a",1]', (a) => a.numbers('lr', [], {}, 2), 'It must be a list of 2 numbers.'],
    ['"c"', (a) => a.choice('lr', 'a', ['a', 'b']), 'It must be "a" or "b".'],
    ['true', (a) => a.only('lr', false), 'It must be false (or left out): nothing else is done here.'],
  ])('refuse %s by name', (json, read, next) => {
    const run = () => read(given({ lr: JSON.parse(json) }))
    expect(run).toThrow(`The optimizer SGD cannot take lr = ${json}.`)
    expect(run).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT', next }))
  })

  it('refuse numbers that are not finite', () => {
    for (const lr of [Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(() => given({ lr }).number('lr', 1)).toThrow(`lr = ${lr}.`)
    }
  })

  it('that are required and missing are named', () => {
    expect(() => given({}).number('lr', undefined)).toThrow('The optimizer SGD needs the argument lr.')
  })

  it('that nobody read are refused with those that there are', () => {
    const args = given({ lr: 1, learning_rate: 2 })
    args.number('lr', 1)
    args.ignore('foreach')
    expect(() => args.end()).toThrow(
      expect.objectContaining({
        code: 'UNKNOWN_ARGUMENT',
        message: 'The optimizer SGD has no argument "learning_rate".',
        next: 'It takes lr, foreach.',
      }),
    )
  })

  it('are not looked for in prototypes', () => {
    expect(given({}).number('toString', 3)).toBe(3)
    expect(() => given(JSON.parse('{"__proto__": 1}')).end()).toThrow(/no argument "__proto__"/)
  })

  it('are shown in part when they are long', () => {
    expect(() => given({ lr: 'x'.repeat(10_000) }).number('lr', 1)).toThrow(/^.{0,160}$/)
  })
})

it('an unknown name is answered with all names', () => {
  expect(unknownName('optimizer', 'Lion', ['Adam', 'SGD'])).toMatchObject({
    message: 'There is no optimizer "Lion".',
    next: 'There are: Adam, SGD.',
  })
})
