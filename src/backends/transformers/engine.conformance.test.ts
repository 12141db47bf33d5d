import { fileURLToPath } from 'node:url'
import { conformanceSuite } from '../testing/conformance-suite.ts'
import { transformersBackend } from './backend.ts'
import { openEngine } from './engine.ts'
import { goldenPath } from './testing/goldens.ts'

const LLAMA = { name: 'llama-tied', path: goldenPath('llama-tied/checkpoint') }
const TINY = { name: 'tiny', path: fileURLToPath(new URL('../../../models/tiny', import.meta.url)) }
const options = (cacheDir: string) => ({ cacheDir, threads: 0, log: () => {} })

conformanceSuite('llama-tied in this process', (cacheDir) => openEngine(LLAMA, options(cacheDir)))

conformanceSuite('the embedded model in a process of its own', (cacheDir) =>
  transformersBackend.open(TINY, options(cacheDir)),
)
