// A bigram model as a backend of twinkle-ts: what a configuration loads with `backends: [./backend.mjs]`. Each base model gets
// an engine in a process of its own, so that computing never holds the server up. docs/guides/write-a-backend.md walks
// through these files. Knows no mathematics.

import { defineBackend, spawnEngine } from 'twinkle-ts/backends'

export default defineBackend({
  name: 'bigram',
  open: (model, options, signal) => spawnEngine(new URL('./worker.mjs', import.meta.url), model, options, signal),
})
