// Python scripts of the cookbook, in the pinned environments of the conformance suites. Where there is no Python the tests that
// need one are not run, and under CI that is a failure.

import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { pythonEnv } from '../../openapi/conformance/sdk-run.ts'
import { type Program, ROOT } from './terminal.ts'

export const NO_PYTHON = 'no Python >= 3.11 with venv and pip runs here; `node scripts/python-env.mjs` says what to do'
export const ENVIRONMENT_MS = 10 * 60_000

/** Makes programs of files, with the packages of this environment and `twinkle_compat`; null where there is no Python. */
export async function pythonPrograms(
  environment: string,
): Promise<((file: string, ...args: string[]) => Program) | null> {
  const python = await pythonEnv(environment)
  if (python === null && process.env.CI === 'true') throw new Error(NO_PYTHON)
  if (python === null) return null
  const env = { PYTHONPATH: join(ROOT, 'src/patch/python/src') }
  return (file, ...args) => ({ command: python, args: ['-W', 'ignore', file, ...args], env })
}

/** An interpreter for scripts that need no packages; null where there is none. */
export async function plainPython(): Promise<string | null> {
  const found = promisify(execFile)(process.execPath, [join(ROOT, 'scripts/python-env.mjs'), '--find'])
  const python = await found.then(
    ({ stdout }) => stdout.trim(),
    () => null,
  )
  if (python === null && process.env.CI === 'true') throw new Error(NO_PYTHON)
  return python
}
