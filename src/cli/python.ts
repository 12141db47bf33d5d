// Finds a Python that really runs. A name on the PATH proves nothing: version managers leave shims that exist and fail.

import { execFile } from 'node:child_process'

export interface Python {
  readonly command: string
  readonly version: string
}

const CANDIDATES = ['python3.14', 'python3.13', 'python3.12', 'python3.11', 'python3', 'python']
const PROBE = 'import sys, venv; print(".".join(map(str, sys.version_info[:3])))'

/** The first interpreter of at least this version that runs and can make virtual environments; null when none does. */
export async function findPython(
  atLeast: readonly [major: number, minor: number] = [3, 11],
  candidates: readonly string[] = CANDIDATES,
): Promise<Python | null> {
  for (const command of candidates) {
    const version = await versionOf(command)
    if (version !== null && isAtLeast(version, atLeast)) return { command, version }
  }
  return null
}

function versionOf(command: string): Promise<string | null> {
  return new Promise((resolve) => {
    execFile(command, ['-c', PROBE], { timeout: 20_000 }, (error, stdout) => resolve(error ? null : stdout.trim()))
  })
}

function isAtLeast(version: string, [major, minor]: readonly [number, number]): boolean {
  const [thisMajor = 0, thisMinor = 0] = version.split('.').map(Number)
  return thisMajor > major || (thisMajor === major && thisMinor >= minor)
}
