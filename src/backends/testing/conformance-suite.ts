// Runs the conformance kit by vitest against one way of opening an engine.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, it } from 'vitest'
import { backendConformance } from '../backend.conformance.ts'
import type { Engine } from '../backend.ts'

/** `open` gets a folder for caches. */
export function conformanceSuite(name: string, open: (cacheDir: string) => Promise<Engine>): void {
  describe(`conformance: ${name}`, () => {
    const folder = mkdtempSync(join(tmpdir(), 'twinkle-conformance-'))
    const again = () => open(join(folder, 'cache'))
    let engine: Engine
    beforeAll(async () => {
      engine = await again()
    })
    afterAll(async () => {
      await engine.close()
      rmSync(folder, { recursive: true })
    })
    for (const { name, run } of backendConformance) {
      it(name, () => run({ engine, open: again, folder }))
    }
  })
}
