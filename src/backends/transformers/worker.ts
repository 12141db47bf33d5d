// The process of one embedded engine. Started by backend.ts.

import { runWorker } from '../worker-main.ts'
import { openEngine } from './engine.ts'

runWorker((model, options, log) => openEngine(model, { ...options, log }))
