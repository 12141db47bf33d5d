// Holds docs/reference/catalogue.md complete: a row for every name.

import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { METRIC_NAMES } from './metrics/metrics.ts'
import { OPTIMIZER_NAMES } from './optimizers/optimizers.ts'
import { SCHEDULER_NAMES } from './schedulers/schedulers.ts'

const page = readFileSync(new URL('../../docs/reference/catalogue.md', import.meta.url), 'utf8')

/** First cells of the tables below a heading. */
function rowsBelow(heading: string): string[] {
  const section = page.split(/^## /m).find((text) => text.startsWith(`${heading}\n`)) ?? ''
  return [...section.matchAll(/^\| `([^`]+)`/gm)].map(([, name]) => name as string)
}

describe('the page of the catalogue', () => {
  it.each([
    ['Optimizers', OPTIMIZER_NAMES],
    ['Schedulers', SCHEDULER_NAMES],
    ['Metrics', METRIC_NAMES],
  ])('has a row for each of the %s, and no other', (heading, names) => {
    expect(rowsBelow(heading).sort()).toEqual([...names].sort())
  })
})
