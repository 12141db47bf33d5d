import { describe, expect, it } from 'vitest'
import { AnswerText, type Piece } from './answer-text.ts'

/** Tokens are bytes, so that characters come in halves; 256 is the special <x>, 257 ends. */
const tokenizer = {
  specialIds: new Set([256, 257]),
  tokenBytes: (id: number) => (id < 256 ? Uint8Array.of(id) : Buffer.from(id === 256 ? '<x>' : '<end>')),
}
const bytes = (text: string) => [...Buffer.from(text)]

function drawn(ids: readonly number[], start = 0) {
  const tokens = Int32Array.from(ids)
  return { start, tokens, logprobs: Float32Array.from(ids, (_, i) => -(start + i)) }
}

/** Pieces as they come token by token, and the rest. */
function read(ids: readonly number[], stops: readonly string[] = []): Piece[] {
  const answer = new AnswerText(tokenizer, stops, [257])
  return [...ids.map((id, i) => answer.push(drawn([id], i))), answer.end(drawn(ids))]
}

const texts = (pieces: readonly Piece[]) => pieces.map(({ text }) => text)
const whole = (pieces: readonly Piece[]) => texts(pieces).join('')
const ids = (pieces: readonly Piece[]) => pieces.flatMap(({ entries }) => entries.map(({ id }) => id))

describe('text', () => {
  it('comes in whole characters', () => {
    expect(texts(read(bytes('a😀é')))).toEqual(['a', '', '', '', '😀', '', 'é', ''])
  })

  it('ends with U+FFFD where a character has no end', () => {
    expect(whole(read(bytes('a😀').slice(0, 4)))).toBe('a\uFFFD')
  })

  it('has neither special tokens nor the one that ends it', () => {
    const pieces = read([...bytes('a'), 256, ...bytes('b'), 257])
    expect(whole(pieces)).toBe('ab')
    expect(ids(pieces)).toEqual([97, 256, 98])
  })

  it('is the same whole or in pieces of any size', () => {
    const all = [...bytes('x😀yy STOP z'), 257]
    const answers = [1, 2, 5, 100].map((size) => {
      const answer = new AnswerText(tokenizer, ['STOP'], [257])
      const pieces: Piece[] = []
      for (let i = 0; i < all.length; i += size) pieces.push(answer.push(drawn(all.slice(i, i + size), i)))
      pieces.push(answer.end(drawn(all)))
      return { text: whole(pieces), entries: pieces.flatMap(({ entries }) => entries) }
    })
    expect(answers[0]?.text).toBe('x😀yy ')
    for (const one of answers) expect(one).toEqual(answers[0])
  })

  it('that is told again from the start, as after the loss of an engine, comes once; what was missed comes with the end', () => {
    const answer = new AnswerText(tokenizer, [], [257])
    const all = bytes('hello')
    expect(answer.push(drawn(all.slice(0, 3))).text).toBe('hel')
    expect(answer.push(drawn(all.slice(0, 2))).text).toBe('')
    expect(answer.push(drawn(all.slice(2, 4), 2)).text).toBe('l')
    const other = new AnswerText(tokenizer, [], [257])
    expect(other.push(drawn(all.slice(3), 3)).text).toBe('')
    expect([answer.end(drawn(all)).text, other.end(drawn(all)).text]).toEqual(['o', 'hello'])
  })
})

describe('a stop string', () => {
  it('is not shown, nor is any part of it before it is whole', () => {
    expect(texts(read(bytes('ab\n\n'), ['\n\n']))).toEqual(['a', 'b', '', '', ''])
  })

  it('that only began is text, as soon as that is certain', () => {
    expect(texts(read(bytes('a\nb\n'), ['\n\n']))).toEqual(['a', '', '\nb', '', '\n'])
  })

  it('may lie within a token, of which what comes before is shown and what follows is not', () => {
    const wide = { ...tokenizer, tokenBytes: (id: number) => Buffer.from(id === 1 ? 'abSTOPcd' : 'x') }
    const answer = new AnswerText(wide, ['STOP'], [])
    expect(answer.push(drawn([0, 1]))).toMatchObject({ text: 'xab', entries: [{ id: 0 }, { id: 1 }] })
    expect(answer.end(drawn([0, 1]))).toEqual({ text: '', entries: [] })
  })

  it('that may be several ends at the first of them', () => {
    expect(whole(read(bytes('one two three'), ['three', 'two']))).toBe('one ')
    expect(whole(read(bytes('aaab'), ['aab']))).toBe('a')
  })

  it('is seen across special tokens as the engine sees it, which are not shown', () => {
    expect(whole(read([...bytes('a\n'), 256], ['\n<x>']))).toBe('a')
    expect(whole(read([...bytes('ab'), 256, ...bytes('cd')], ['bc']))).toBe('abcd')
  })
})

describe('entries', () => {
  it('come with the first of their text, are not those of the stop string, and know their place in characters', () => {
    const pieces = read(bytes('😀a!!'), ['!!'])
    expect(ids(pieces)).toEqual(bytes('😀a'))
    const offsets = pieces.flatMap(({ entries }) => entries.map(({ offset }) => offset))
    expect(offsets).toEqual([0, 0, 0, 0, 1])
    expect(pieces.flatMap(({ entries }) => entries.map(({ logprob }) => logprob))).toEqual([-0, -1, -2, -3, -4])
  })

  it('have the best tokens of their place', () => {
    const topk = { k: 2, ids: Int32Array.of(1, 2, 3, 0), logprobs: Float32Array.of(-1, -2, -3, Number.NaN) }
    const { entries } = new AnswerText(tokenizer, [], []).push({ ...drawn(bytes('ab')), topk })
    expect(entries.map(({ best }) => best)).toEqual([
      [
        { id: 1, logprob: -1 },
        { id: 2, logprob: -2 },
      ],
      [{ id: 3, logprob: -3 }],
    ])
  })
})
