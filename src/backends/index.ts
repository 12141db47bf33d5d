// What the author of a backend needs: the interface, its errors, ways to put an engine elsewhere, the checks it must pass, and
// what the embedded engine has of which there need be only one: checks of requests, losses, steps, draws, files.

// Files: adapters as PEFT has them, the state of an optimiser beside them, tokenizers.
export { FormatError } from '../formats/format-error.ts'
export {
  OPTIMIZER_FILE,
  type OptimizerState as OptimizerStateFile,
  readOptimizerState,
  writeOptimizerState,
} from '../formats/optimizer-state.ts'
export { type LoraPair, loraTensorName, readPeftAdapter, writePeftAdapter } from '../formats/peft.ts'
export { openSafetensors, writeSafetensors } from '../formats/safetensors.ts'
export { StopStrings } from '../formats/stop-strings.ts'
export { loadTokenizer, Tokenizer } from '../formats/tokenizer.ts'
// The interface, and how a server comes to a backend.
export type { Bench, Check } from './backend.conformance.ts'
export { backendConformance } from './backend.conformance.ts'
export * from './backend.ts'
// An engine in another process, or on another machine.
export { spawnEngine } from './child-process.ts'
// Requests: what an engine refuses, and whose turn it is.
export { checkDatums } from './datum-check.ts'
export { cancelled, ENGINE_ERRORS, type EngineErrorCode, engineError, toFailure } from './engine-errors.ts'
// Losses and optimisers as numbers.
export { type EvaluatedLoss, evaluateLoss, type Scores } from './evaluate-loss.ts'
export { EventQueue } from './event-queue.ts'
export { FairQueue, type Share } from './fair-queue.ts'
export { lossesOf, lossOf, needsOf, resolveLoss, supports } from './losses.ts'
export { checkClip, checkSettings, OPTIMIZER_RULES } from './optimizer-check.ts'
export { backendNames, getBackend, loadBackend, registerBackend } from './registry.ts'
export { type ConnectOptions, connectEngine } from './remote-engine.ts'
export { type OpenEngine, serveEngine } from './serve-engine.ts'
export { writeFolder } from './transformers/adapter-folder.ts'
export { checkGeneration } from './transformers/generation-check.ts'
export { moved } from './transformers/optimizer.ts'
export type { Moving, OptimizerState } from './transformers/optimizer-state.ts'
// Draws that depend on seed, sequence and position alone.
export { type Key, keyOfSeed, philox, uniform } from './transformers/philox.ts'
export { Snapshots } from './transformers/snapshots.ts'
export { type Candidates, type ChoiceRule, chooseToken } from './transformers/token-choice.ts'
export { type Turn, Turns } from './turns.ts'
export { runWorker } from './worker-main.ts'
