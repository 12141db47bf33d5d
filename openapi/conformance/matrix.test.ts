// Holds the table of cases, the Python functions and the committed matrix together; needs no Python.

import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { CASES, ELSEWHERE } from './cases.ts'
import { MATRIX_FILE, matrix } from './matrix.ts'

const FOLDER = fileURLToPath(new URL('sdk/cases/', import.meta.url))
const functions = readdirSync(FOLDER)
  .filter((file) => file.endsWith('.py'))
  .flatMap((file) => [...readFileSync(FOLDER + file, 'utf8').matchAll(/^@case\("([^"]+)"/gm)].map((m) => m[1]))

/** The formatter of this repository may align tables. */
const withoutPadding = (markdown: string) => markdown.replaceAll(/ +\|/g, ' |').replaceAll(/-{3,}/g, '---')

describe('the table of conformance cases', () => {
  it('has one Python function for each case, and no other but what another test runs', () => {
    const here = functions.filter((id) => id !== undefined && !(id in ELSEWHERE))
    expect(here.sort()).toEqual(CASES.map((c) => c.id).sort())
  })

  it('accounts for every case of the protocol, C01 to C99', () => {
    const run = new Set(CASES.map((c) => c.id.split('-')[0]))
    const all = Array.from({ length: 99 }, (_, i) => `C${String(i + 1).padStart(2, '0')}`)
    expect(all.filter((id) => !run.has(id) && !(id in ELSEWHERE))).toEqual([])
  })

  it('is what matrix.md shows; if not, run `node --import tsx openapi/conformance/matrix.ts`', () => {
    expect(withoutPadding(readFileSync(MATRIX_FILE, 'utf8'))).toBe(withoutPadding(matrix()))
  })
})
