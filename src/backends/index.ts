// What the author of a backend needs: the interface, its errors, ways to put an engine elsewhere, and the checks it must pass.

export type { Bench, Check } from './backend.conformance.ts'
export { backendConformance } from './backend.conformance.ts'
export * from './backend.ts'
export { spawnEngine } from './child-process.ts'
export { ENGINE_ERRORS, type EngineErrorCode, engineError, toFailure } from './engine-errors.ts'
export { checkClip, checkSettings, OPTIMIZER_RULES } from './optimizer-check.ts'
export { backendNames, getBackend, loadBackend, registerBackend } from './registry.ts'
export { type ConnectOptions, connectEngine } from './remote-engine.ts'
export { type OpenEngine, serveEngine } from './serve-engine.ts'
export { runWorker } from './worker-main.ts'
