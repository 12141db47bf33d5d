import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { VERSIONS } from '../../openapi/conformance/cases.ts'
import { compatibilityPage, shortcomings } from './page.ts'
import type { VersionReport } from './trial.ts'

const PAGE = fileURLToPath(new URL('../../docs/reference/compatibility.md', import.meta.url))
const result = (id: string, methods: string[], ok = true) => ({ id, ok, seconds: 1, methods })
const OLD: VersionReport = {
  version: '0.3.0',
  methods: ['TrainingClient.forward', 'TrainingClient.forward_async'],
  results: [result('C21', ['TrainingClient.forward']), result('C19', [])],
}
const NEW: VersionReport = {
  version: '0.38.0',
  methods: ['TrainingClient.forward', 'TrainingClient.forward_async', 'TrainingClient.save_state'],
  results: [
    result('C21', ['TrainingClient.forward', 'TrainingClient.forward_async']),
    result('C44', ['TrainingClient.save_state'], false),
  ],
}
const rows = (reports: readonly VersionReport[]) =>
  compatibilityPage(reports)
    .split('\n')
    .filter((line) => line.startsWith('| '))

describe('the page of compatibility', () => {
  it('says Y only where every form of a method was called and every case that called it passed', () => {
    expect(rows([NEW, OLD])).toEqual(
      expect.arrayContaining(['| forward | Y | 1 |', '| save_state | no (C44) | - |', '| method | 0.38.0 | 0.3.0 |']),
    )
    expect(compatibilityPage([NEW, OLD])).toContain('1. no case calls it')
  })

  it('counts what failed and what was not called as shortcomings', () => {
    expect(shortcomings([NEW, OLD])).toEqual([
      'SDK 0.38.0: case C44 failed',
      'SDK 0.3.0: no case calls TrainingClient.forward_async',
    ])
  })

  it('is committed as a run of all versions wrote it, with nothing missing', () => {
    const page = readFileSync(PAGE, 'utf8')
    for (const version of VERSIONS)
      expect(page).toMatch(new RegExp(`\\| ${version} \\| \\d+ \\| \\d+ \\| \\d+ \\| - \\|`))
    expect(page).not.toMatch(/no case calls it|no \(/)
  })
})
