// The suite for one SDK version: one server, one run of the Python cases, one vitest test for each case. Without Python the
// cases do not run: under CI that is a failure, elsewhere `npm test` says so at its end.

import { afterAll, beforeAll, describe, it } from 'vitest'
import { casesOf, type SdkVersion } from './cases.ts'
import { KEY, OTHER_KEY, pythonEnv, SdkRun } from './sdk-run.ts'
import { type ServerProcess, startServerProcess } from './server-process.ts'

/** Making an environment downloads packages: 70 MB, with PyTorch 2.5 GB. */
const SETUP_MS = 20 * 60_000
const CASE_MS = 5 * 60_000
const SHOWN = 2000
const NO_PYTHON = 'no Python >= 3.11 with venv and pip runs here; `node scripts/python-env.mjs` says what to do'

export function describeSdk(version: SdkVersion, { torch = false } = {}): void {
  const cases = casesOf(version, { torch })
  const name = `SDK ${version}${torch ? ' with PyTorch' : ''}`

  describe(name, () => {
    let server: ServerProcess | undefined
    let run: SdkRun | undefined

    beforeAll(async () => {
      const python = await pythonEnv(`sdk-${version}${torch ? '-torch' : ''}`)
      if (python === null && process.env.CI === 'true') throw new Error(NO_PYTHON)
      if (python === null) return
      server = await startServerProcess({ keys: [KEY, OTHER_KEY] })
      run = await SdkRun.start(
        { version, python },
        server,
        cases.map((c) => c.id),
      )
    }, SETUP_MS)

    afterAll(async () => {
      await run?.stop()
      await server?.stop()
    })

    for (const { id, says } of cases) {
      it(
        `${id}: ${says}`,
        async ({ skip }) => {
          if (!run) return skip(NO_PYTHON)
          const { ok, error } = await run.result(id)
          if (!ok) throw new Error(`${error}\n\nThe server's log ends:\n${server?.output().slice(-SHOWN)}`)
        },
        CASE_MS,
      )
    }
  })
}
