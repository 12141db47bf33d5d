// docs/reference/compatibility.md from what the versions did: method by version. The text depends on the reports alone, so a
// run that sees the same writes the same bytes. It knows no paths and no times.

import { CASES } from '../../openapi/conformance/cases.ts'
import type { VersionReport } from './trial.ts'

/** Forms that no case can call, each with the reason. */
const OWN_LOOP =
  "the plain form works; before 0.38 the SDK's `_async` form fails on every event loop but its own, before it asks the server"
const UNCALLABLE: Readonly<Record<string, string>> = {
  'RestClient.get_audit_log_async': OWN_LOOP,
  'AdminClient.get_audit_log_async': OWN_LOOP,
}
const ABSENT = '-'

export function compatibilityPage(reports: readonly VersionReport[]): string {
  const classes = [...new Set(reports.flatMap(({ methods }) => methods.map((m) => m.split('.')[0] as string)))].sort()
  const notes = notesOf(reports)
  return `# Compatibility

Written by \`npm run compat\`; do not edit. For each version of the unmodified Python SDK, in an environment of its own, a fresh
\`twinkle serve\` is started and the [conformance cases](../../openapi/conformance/matrix.md) are run against it, PyTorch included.

## Cases

| SDK | run | passed | not in this SDK | failed |
| --- | --- | --- | --- | --- |
${reports.map(caseRow).join('\n')}

## Methods

\`Y\`: there are cases that call the method, in its plain and in its \`_async\` form if it has both, and all of them passed. \`-\`:
this version has no such method. A number: see below. Anything else names the cases that failed.
${classes.map((name) => classTable(name, reports, notes)).join('\n')}
${notes.length > 0 ? `\n## Notes\n\n${notes.map((note, i) => `${i + 1}. ${note}`).join('\n')}\n` : ''}`
}

/** What keeps the run from being a good one: cases that failed, and methods that nothing called. */
export function shortcomings(reports: readonly VersionReport[]): string[] {
  return reports.flatMap((report) => [
    ...report.results.filter(({ ok }) => !ok).map(({ id }) => `SDK ${report.version}: case ${id} failed`),
    ...report.methods
      .filter((method) => !(method in UNCALLABLE) && callsOf(method, report).length === 0)
      .map((method) => `SDK ${report.version}: no case calls ${method}`),
  ])
}

function caseRow({ version, results }: VersionReport): string {
  const failed = results.filter(({ ok }) => !ok).map(({ id }) => id)
  const missing = CASES.length - results.length
  return `| ${version} | ${results.length} | ${results.length - failed.length} | ${missing} | ${failed.join(', ') || ABSENT} |`
}

function classTable(name: string, reports: readonly VersionReport[], notes: readonly string[]): string {
  const methods = [...new Set(reports.flatMap((report) => report.methods.map(plainForm)))]
  const rows = methods
    .filter((method) => method.startsWith(`${name}.`))
    .sort()
    .map(
      (method) => `| ${method.split('.')[1]} | ${reports.map((report) => cell(method, report, notes)).join(' | ')} |`,
    )
  return `
### ${name}

| method | ${reports.map(({ version }) => version).join(' | ')} |
| --- |${' --- |'.repeat(reports.length)}
${rows.join('\n')}`
}

function cell(method: string, report: VersionReport, notes: readonly string[]): string {
  const forms = report.methods.filter((each) => plainForm(each) === method)
  if (forms.length === 0) return ABSENT
  const failed = new Set(forms.flatMap((form) => callsOf(form, report).filter(({ ok }) => !ok)))
  if (failed.size > 0) return `no (${[...failed].map(({ id }) => id).join(', ')})`
  const uncalled = forms.find((form) => callsOf(form, report).length === 0)
  if (uncalled === undefined) return 'Y'
  return String(notes.indexOf(noteOn(uncalled)) + 1)
}

function notesOf(reports: readonly VersionReport[]): string[] {
  const uncalled = reports.flatMap((report) => report.methods.filter((each) => callsOf(each, report).length === 0))
  return [...new Set(uncalled.map(noteOn))].sort()
}

function noteOn(method: string): string {
  return UNCALLABLE[method] ?? 'no case calls it'
}

const plainForm = (method: string) => method.replace(/_async$/, '')
const callsOf = (method: string, { results }: VersionReport) => results.filter((each) => each.methods.includes(method))
