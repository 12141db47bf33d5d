// How an adapter is trained, in lines for people: what get_train_configs answers.

import type { EngineInfo } from '../../backends/backend.ts'
import { describeLora } from './lora-request.ts'
import type { Run } from './runs.ts'
import { type AdapterState, currentOptimizer } from './twinkle-state.ts'

export function describeState(run: Run, info: EngineInfo, state: AdapterState): string {
  const { loss, optimizer, scheduler, template, processor, accumulation, progress } = state
  const named = (entry: { name: string; kwargs: object } | null) =>
    entry === null ? 'none' : `${entry.name}${inWords(entry.kwargs)}`
  return [
    `Backend: ${info.backend}`,
    `Base model: ${run.base_model}`,
    `LoRA config: ${describeLora(state.lora)}`,
    `Loss: ${loss.name}${inWords(loss.config)}`,
    `Optimizer: ${optimizer === null ? 'none' : `${optimizer.name}${inWords(optimizer.spec)}`}`,
    `Learning rate: ${currentOptimizer(state)?.learningRate ?? 'none'}`,
    `Scheduler: ${scheduler === null ? 'none' : `${scheduler.name}${inWords(scheduler.spec.config)}`}`,
    `Gradient accumulation steps: ${accumulation}`,
    `Template: ${named(template)}`,
    `Processor: ${named(processor)}`,
    `Metrics: ${state.metrics.training.map(({ name }) => name).join(', ')}`,
    `Steps: ${progress.steps}`,
  ].join('\n')
}

/** ` (lr=0.1, ...)`, or nothing. */
function inWords(settings: object): string {
  const words = Object.entries(settings).map(([name, value]) => `${name}=${JSON.stringify(value)}`)
  return words.length === 0 ? '' : ` (${words.join(', ')})`
}
