// Owners by the headers that each generation of clients was seen to send (openapi/goldens/twinkle).

import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { keyIn } from '../http/auth.ts'
import type { Tenant } from '../services/tenants.ts'
import { ownerOf, speaksTwinkle } from './owner.ts'

const place = new URL('../../../openapi/goldens/twinkle/headers-by-generation.json', import.meta.url)
const recorded: Readonly<Record<string, Record<string, string>>> = JSON.parse(readFileSync(place, 'utf8')).headers
const anna: Tenant = { id: 'anna', role: 'member', key: 'key-1' }
const bert: Tenant = { id: 'bert', role: 'member', key: 'key-1' }
const lower = (headers: Record<string, string>) =>
  Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]))

describe('the owner of a request', () => {
  it.each([
    ['twinkle_client 0.0.1', '20261123_234042-d3a9b82a'],
    ['compat 0.0.1 + tinker 0.14.0', '20261123_233930-231262df'],
    ['init_tinker_client 0.1.3 + tinker 0.14.0', '20261123_234004-f71e467b'],
    ['twinkle_client 0.5.1', 'session_7c90926dc0034c559dbac5842995f412'],
    ['init_tinker_client 0.5.1 + tinker 0.16.1', '20261123_233445-72dce90b'],
  ])('%s', (generation, owner) => {
    const headers = lower(recorded[generation]!)
    expect(ownerOf(headers, anna)).toBe(owner)
    expect(keyIn(headers)).toBe('EMPTY_TOKEN')
    expect(speaksTwinkle(headers)).toBe(true)
  })

  it('is made from tenant and key where no header tells it', () => {
    expect(ownerOf({}, anna)).toMatch(/^key_[0-9a-f]{32}$/)
    expect(ownerOf({}, anna)).toBe(ownerOf({ 'x-twinkle-session-id': '  ' }, anna))
    expect(ownerOf({}, anna)).not.toBe(ownerOf({}, bert))
  })

  it('survives a proxy that writes hyphens', () => {
    expect(ownerOf({ 'serve-multiplexed-model-id': 'a' }, anna)).toBe('a')
  })

  it.each(['a/b', '../x', 'a b', 'x'.repeat(129), 'ä'])('is never %j', (value) => {
    expect(() => ownerOf({ 'x-request-id': value }, anna)).toThrow(expect.objectContaining({ code: 'INVALID_OWNER' }))
  })
})

describe('whoever speaks Twinkle', () => {
  it('is not everybody who names his requests', () => {
    expect(speaksTwinkle({ 'x-request-id': 'a', 'x-api-key': 'tml-a' })).toBe(false)
    expect(speaksTwinkle({ 'twinkle-authorization': 'Bearer a' })).toBe(true)
  })
})

describe('the key of a request', () => {
  it.each([
    [{ 'x-api-key': 'tml-a' }, 'tml-a'],
    [{ authorization: 'Bearer b' }, 'b'],
    [{ authorization: 'bearer  b ' }, 'b'],
    [{ 'twinkle-authorization': 'b' }, 'b'],
    [{ authorization: 'Basic b' }, undefined],
    [{ authorization: 'Bearer b', 'twinkle-authorization': 'Bearer c' }, 'c'],
    [{ authorization: 'Bearer of-a-proxy', 'x-api-key': 'tml-a' }, 'tml-a'],
    [{ 'twinkle-authorization': 'Bearer ' }, undefined],
    [{}, undefined],
  ])('%j', (headers, key) => {
    expect(keyIn(headers)).toBe(key)
  })
})
