import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { MAX_CONTAINERS, MAX_DEPTH, parseJson } from './json.ts'

const parse = (text: string) => parseJson(new TextEncoder().encode(text))

describe('parseJson', () => {
  it('is JSON.parse for whatever JSON can hold', () => {
    fc.assert(
      fc.property(fc.json(), fc.constantFrom(undefined, 2), (text, indent) => {
        const laidOut = JSON.stringify(JSON.parse(text), null, indent)
        fc.pre(!/(?<![.\d])\d{16}/.test(laidOut))
        expect(parse(laidOut)).toEqual(JSON.parse(laidOut))
      }),
      { numRuns: 300 },
    )
  })

  it('leaves an integer that a double cannot hold as its digits', () => {
    expect(parse('{"seq_id":189992462000000001,"seed": -9223372036854775808}')).toEqual({
      seq_id: '189992462000000001',
      seed: '-9223372036854775808',
    })
    expect(parse('[9007199254740991,9007199254740993,-9007199254740993]')).toEqual([
      9007199254740991,
      '9007199254740993',
      '-9007199254740993',
    ])
  })

  it('keeps every 64-bit integer exact, wherever it stands', () => {
    const integer = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n })
    fc.assert(
      fc.property(fc.array(integer), fc.string(), (integers, text) => {
        // Not one of the fixed keys, and not a prototype.
        const name = `_${text}`
        const key = JSON.stringify(name)
        const parsed = parse(`{"a":[${integers.join(' , ')}],${key}:${key},"z":"12345678901234567890"}`) as {
          a: (number | string)[]
        }
        expect(parsed.a.map(BigInt)).toEqual(integers)
        expect(parsed).toMatchObject({ [name]: name, z: '12345678901234567890' })
      }),
    )
  })

  it.each([
    ['fractions', '[0.12345678901234567890,1.2345678901234567e-05]'],
    ['exponents', '[12345678901234567890e-3,1e1,12345678901234567890.5]'],
    ['text with long integers, quotes and backslashes', '["\\\\\\"12345678901234567890","\\\\",[1]]'],
  ])('does not touch %s', (_, text) => {
    // A long integer beside it, so that the exact way is taken.
    expect(parse(`[${text},18446744073709551615]`)).toEqual([JSON.parse(text), '18446744073709551615'])
  })

  it.each([
    ['cut off', '{"a": [1, 2'],
    ['a long integer with a leading zero', '[012345678901234567890]'],
    ['two minus signs', '[--12345678901234567890]'],
    ['a long integer that runs into text', '[12345678901234567890"x"]'],
    ['a long integer that runs into a word', '[12345678901234567890true]'],
    ['NaN', '[NaN]'],
    ['an unfinished string', '"abc\\"'],
    ['nothing', ''],
  ])('refuses %s', (_, text) => {
    expect(() => parse(text)).toThrow(expect.objectContaining({ code: 'MALFORMED_JSON', status: 400 }))
  })

  it('refuses a number that would become infinite, but not the digits of one in a text', () => {
    for (const number of ['1e999', '-1e999', '1e309', `1${'0'.repeat(310)}.5`, `${'9'.repeat(300)}e20`]) {
      expect(() => parseJson(Buffer.from(`{"a":[${number}]}`)), number).toThrow(/beyond what 64 bits hold/)
    }
    expect(parseJson(Buffer.from('{"a":1e308,"b":"1e999"}'))).toEqual({ a: 1e308, b: '1e999' })
  })

  it('refuses bytes that are no UTF-8', () => {
    expect(() => parseJson(Uint8Array.of(34, 0xff, 34))).toThrow(/not UTF-8/)
  })

  it('repeats no long part of a broken body', () => {
    expect(() => parse(`{"key": "${'x'.repeat(5000)}"`)).toThrow(
      expect.objectContaining({ message: expect.toSatisfy((m: string) => m.length < 300) }),
    )
  })

  it('refuses bombs of depth and of number before it parses them', () => {
    const code = expect.objectContaining({ code: 'BODY_TOO_COMPLEX' })
    expect(() => parse('['.repeat(5_000_000))).toThrow(code)
    expect(() => parse(`[${'{},'.repeat(MAX_CONTAINERS)}{}]`)).toThrow(code)
    expect(parse(`${'['.repeat(MAX_DEPTH)}"[[[["${']'.repeat(MAX_DEPTH)}`)).toBeTruthy()
  })
})
