#!/usr/bin/env node
// Counts what a vitest JSON report says: `node scripts/test-counts.mjs FILE` prints "passed failed".

import { existsSync, readFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'

/** A report that is missing counts as a failure, and so does a test file that could not be loaded. */
export function testCounts(report) {
  if (!existsSync(report)) return { passed: 0, failed: 1, skipped: 0 }
  const results = JSON.parse(readFileSync(report, 'utf8'))
  const unloaded = results.testResults.filter((file) => file.status === 'failed' && file.assertionResults.length === 0)
  return {
    passed: results.numPassedTests,
    failed: results.numFailedTests + unloaded.length,
    skipped: results.numPendingTests + results.numTodoTests,
  }
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { passed, failed } = testCounts(process.argv[2])
  console.log(`${passed} ${failed}`)
}
