// `npm run compat [-- --sdk 0.3.0 --sdk 0.38.0]`: runs the conformance cases with versions of the SDK from PyPI, each in its own
// environment against its own server. With all versions it writes docs/reference/compatibility.md; with some it prints their
// page. Ends with code 1 when a case failed or a method was called by none.

import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { type SdkVersion, VERSIONS } from '../openapi/conformance/cases.ts'
import { compatibilityPage, shortcomings } from './compat/page.ts'
import { runVersion, torchPackages, type VersionReport } from './compat/trial.ts'

const PAGE = fileURLToPath(new URL('../docs/reference/compatibility.md', import.meta.url))

const { values } = parseArgs({ options: { sdk: { type: 'string', multiple: true } } })
const unknown = values.sdk?.filter((version) => !VERSIONS.includes(version as SdkVersion)) ?? []
if (unknown.length > 0) {
  console.error(`Error: there is no set for SDK ${unknown.join(', ')}; there are ${VERSIONS.join(', ')}.`)
  process.exit(2)
}
const versions = VERSIONS.filter((version) => values.sdk?.includes(version) ?? true)
const packages = await torchPackages()
const reports: VersionReport[] = []
for (const version of versions) reports.push(await runAndTell(version))

const page = compatibilityPage(reports)
if (versions.length === VERSIONS.length) {
  writeFileSync(PAGE, page)
  console.log('\nWrote docs/reference/compatibility.md.')
} else console.log(`\n${page}`)
const problems = shortcomings(reports)
for (const problem of problems) console.log(problem)
console.log(problems.length === 0 ? 'Verdict: compatible.' : `Verdict: ${problems.length} shortcomings.`)
process.exitCode = problems.length === 0 ? 0 : 1

async function runAndTell(version: SdkVersion): Promise<VersionReport> {
  const report = await runVersion(version, packages, ({ id, ok, error }) => {
    if (!ok) console.log(`SDK ${version}: ${id} failed: ${error}`)
  })
  const passed = report.results.filter(({ ok }) => ok).length
  console.log(`SDK ${version}: ${passed} of ${report.results.length} cases passed`)
  return report
}
