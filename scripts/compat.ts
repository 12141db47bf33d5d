// `npm run compat [-- --sdk 0.3.0 --sdk 0.38.0]`: runs the conformance cases with versions of the SDK from PyPI, each in its own
// environment against its own server, and writes docs/reference/compatibility.md. Versions that are not named keep the column
// of their last run. Ends with code 1 when a case failed, a method was called by none, or a version has not been run.

import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { type SdkVersion, VERSIONS } from '../openapi/conformance/cases.ts'
import { compatibilityPage, shortcomings } from './compat/page.ts'
import { savedReport, saveReport } from './compat/results.ts'
import { runVersion, torchPackages } from './compat/trial.ts'

const PAGE = fileURLToPath(new URL('../docs/reference/compatibility.md', import.meta.url))

const { values } = parseArgs({ options: { sdk: { type: 'string', multiple: true } } })
const unknown = values.sdk?.filter((version) => !VERSIONS.includes(version as SdkVersion)) ?? []
if (unknown.length > 0) {
  console.error(`Error: there is no set for SDK ${unknown.join(', ')}; there are ${VERSIONS.join(', ')}.`)
  process.exit(2)
}
const packages = await torchPackages()
for (const version of VERSIONS.filter((each) => values.sdk?.includes(each) ?? true)) await runAndTell(version)

const reports = VERSIONS.map(savedReport).filter((report) => report !== null)
const missing = VERSIONS.filter((version) => !reports.some((report) => report.version === version))
const problems = [
  ...shortcomings(reports),
  ...missing.map((version) => `SDK ${version}: not run with the cases of today`),
]
if (missing.length === 0) {
  writeFileSync(PAGE, compatibilityPage(reports))
  console.log('\nWrote docs/reference/compatibility.md.')
}
for (const problem of problems) console.log(problem)
console.log(problems.length === 0 ? 'Verdict: compatible.' : `Verdict: ${problems.length} shortcomings.`)
process.exitCode = problems.length === 0 ? 0 : 1

async function runAndTell(version: SdkVersion): Promise<void> {
  const report = await runVersion(version, packages, ({ id, ok, error }) => {
    if (!ok) console.log(`SDK ${version}: ${id} failed: ${error}`)
  })
  saveReport(report)
  const passed = report.results.filter(({ ok }) => ok).length
  console.log(`SDK ${version}: ${passed} of ${report.results.length} cases passed`)
}
