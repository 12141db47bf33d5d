// The process of one engine, started by backend.mjs.

import { runWorker } from 'twinkle-ts/backends'
import { openEngine } from './engine.mjs'

runWorker(async (model, _options, log) => {
  const engine = openEngine(model)
  log(`${model.name}: a bigram model of ${engine.info.vocabulary} tokens is open`)
  return engine
})
