import { describe, expect, it } from 'vitest'
import { originOf } from './origin.ts'

describe('originOf', () => {
  it('is what the client asked for, or what the first proxy says that it asked for', () => {
    expect(originOf({ host: '127.0.0.1:8000' })).toBe('http://127.0.0.1:8000')
    expect(originOf({ host: '[::1]:8000' })).toBe('http://[::1]:8000')
    const forwarded = {
      'x-forwarded-host': 'train.example, inner',
      'x-forwarded-proto': 'https',
      'x-forwarded-prefix': '/a/b',
    }
    expect(originOf({ host: 'inner:1', ...forwarded })).toBe('https://train.example/a/b')
  })

  it.each([{}, { host: 'a b' }, { host: 'evil/path?' }, { host: 'a', 'x-forwarded-proto': 'javascript' }])(
    'refuses %j',
    (headers) => {
      expect(() => originOf(headers)).toThrow(expect.objectContaining({ code: 'UNKNOWN_ORIGIN' }))
    },
  )
})
