// The embedded backend: one child process for each base model, so that computing never blocks the server and a crash of
// native code ends one engine only. Importing this file loads no native code.

import { openModelSource } from '../../formats/model-folder.ts'
import { type Backend, defineBackend } from '../backend.ts'
import { spawnEngine } from '../child-process.ts'

const WORKER = new URL(import.meta.url.endsWith('.ts') ? './worker.ts' : './worker.js', import.meta.url)

export const transformersBackend: Backend = defineBackend({
  name: 'transformers',
  open: (model, options, signal) => spawnEngine(WORKER, model, options, signal),
  tokenizerFiles: (model) => openModelSource(model.path).tokenizerFiles(),
})
