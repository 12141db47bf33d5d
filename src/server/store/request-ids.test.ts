import { expect, it } from 'vitest'
import { newRequestId } from './request-ids.ts'

it('sort in the order of arrival, however many come within a millisecond and whatever the clock does', () => {
  const now = 1_800_000_000_000
  const times = [...Array(10_000).fill(now), now - 5000, now + 1, now + 60_000]
  const ids = times.map(newRequestId)
  expect(new Set(ids).size).toBe(ids.length)
  expect([...ids].sort()).toEqual(ids)
  for (const id of ids) expect(id).toMatch(/^req-[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
})
