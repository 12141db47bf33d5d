// A user's TypeScript program as a process of its own: what it imports from the package comes from the sources of this
// checkout, and its temporary files lie in a folder that the test looks into.

import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect } from 'vitest'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const SOURCES: Readonly<Record<string, string>> = {
  'twinkle-ts': 'src/index.ts',
  'twinkle-ts/client': 'src/client/twinkle/index.ts',
}

const run = promisify(execFile)

/** Lines of stdout. Rejects for a program that fails; one that complains on stderr fails the test. */
export async function printedBy(
  program: string,
  folder: string,
  environment: Readonly<Record<string, string>> = {},
): Promise<string[]> {
  const file = join(folder, `${randomUUID()}.mts`)
  const text = program.replace(/from '(twinkle-ts[^']*)'/g, (_, name: string) => {
    return `from ${JSON.stringify(join(ROOT, SOURCES[name] as string))}`
  })
  await writeFile(file, text)
  const env = { PATH: process.env.PATH ?? '', HOME: folder, TMPDIR: folder, ...environment }
  const { stdout, stderr } = await run(process.execPath, ['--import', 'tsx', file], { cwd: ROOT, env })
  expect(stderr).toBe('')
  return stdout.trim().split('\n')
}
