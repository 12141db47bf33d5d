// One SDK version against one real server: its environment, a fresh `twinkle serve`, every case that this version can run,
// those with PyTorch included. It knows how to run and gives what was seen; what that means is the page's matter.

import { execFileSync } from 'node:child_process'
import type { SdkVersion } from '../../openapi/conformance/cases.ts'
import { type CaseResult, KEY, OTHER_KEY, pythonEnv, SdkRun } from '../../openapi/conformance/sdk-run.ts'
import { startServerProcess } from '../../openapi/conformance/server-process.ts'
import { caseIds } from './results.ts'

/** What one version did. */
export interface VersionReport {
  readonly version: SdkVersion
  /** Public methods of its clients, as `TrainingClient.optim_step`. */
  readonly methods: readonly string[]
  readonly results: readonly CaseResult[]
}

/** The folder of a PyTorch, for SDKs whose own environments have none. Makes it first: 2.5 GB to download. */
export async function torchPackages(): Promise<string> {
  const python = await environmentOf('sdk-0.38.0-torch')
  const program = 'import sysconfig; print(sysconfig.get_path("purelib"))'
  return execFileSync(python, ['-c', program], { encoding: 'utf8' }).trim()
}

export async function runVersion(
  version: SdkVersion,
  packages: string,
  onResult: (result: CaseResult) => void,
): Promise<VersionReport> {
  const python = await environmentOf(`sdk-${version}`)
  const ids = caseIds(version)
  const server = await startServerProcess({ keys: [KEY, OTHER_KEY] })
  try {
    const run = await SdkRun.start({ version, python }, server, ids, { methods: true, packages })
    try {
      const results: CaseResult[] = []
      for (const id of ids) {
        const result = await run.result(id)
        onResult(result)
        results.push(result)
      }
      return { version, methods: await run.methods, results }
    } finally {
      await run.stop()
    }
  } finally {
    await server.stop()
  }
}

async function environmentOf(set: string): Promise<string> {
  const python = await pythonEnv(set)
  if (python === null)
    throw new Error('no Python >= 3.11 runs here; `node scripts/python-env.mjs --find` says what to do')
  return python
}
