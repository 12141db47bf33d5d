// The embedded backend: one child process for each base model, so that computing never blocks the server and a crash of
// native code ends one engine only. Importing this file loads no native code.

import { createRequire } from 'node:module'
import { openModelSource } from '../../formats/model-folder.ts'
import { type Backend, defineBackend } from '../backend.ts'
import { spawnEngine } from '../child-process.ts'
import { engineError } from '../engine-errors.ts'

const WORKER = new URL(import.meta.url.endsWith('.ts') ? './worker.ts' : './worker.js', import.meta.url)

export const transformersBackend: Backend = defineBackend({
  name: 'transformers',
  open: async (model, options, signal) => {
    checkRuntime()
    return spawnEngine(WORKER, model, options, signal)
  },
  tokenizerFiles: (model) => openModelSource(model.path).tokenizerFiles(),
})

/** Asked here rather than in the child process, which could only end with a stack trace, and be started again for it. */
function checkRuntime(): void {
  try {
    createRequire(import.meta.url).resolve('onnxruntime-node')
  } catch {
    throw engineError(
      'MISSING_PACKAGE',
      'the optional package onnxruntime-node is not installed; the backend transformers computes with it',
    )
  }
}
