/** Test helper: a folder of its own for each test, removed after the last test of the file. */
import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { afterAll } from 'vitest'

const created: string[] = []
afterAll(() => {
  for (const folder of created) fs.rmSync(folder, { recursive: true, force: true })
})

export function temporaryFolder(): string {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'twinkle-formats-'))
  created.push(folder)
  return folder
}
