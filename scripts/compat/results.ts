// What the versions did when they were last run, a file each under .cache/compat: so one version can be run again, or several
// beside each other, and the page still has all of them. A report counts for as long as it ran the cases that there are now.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { casesOf, type SdkVersion } from '../../openapi/conformance/cases.ts'
import type { VersionReport } from './trial.ts'

const FOLDER = fileURLToPath(new URL('../../.cache/compat/', import.meta.url))

export function caseIds(version: SdkVersion): string[] {
  return [...casesOf(version), ...casesOf(version, { torch: true })].map(({ id }) => id)
}

export function saveReport(report: VersionReport): void {
  mkdirSync(FOLDER, { recursive: true })
  writeFileSync(fileOf(report.version), JSON.stringify(report))
}

/** null when there is none, or when the cases are others by now. */
export function savedReport(version: SdkVersion): VersionReport | null {
  let report: VersionReport
  try {
    report = JSON.parse(readFileSync(fileOf(version), 'utf8'))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw error
  }
  const ran = report.results.map(({ id }) => id)
  return ran.join() === caseIds(version).join() ? report : null
}

const fileOf = (version: SdkVersion) => `${FOLDER}${version}.json`
