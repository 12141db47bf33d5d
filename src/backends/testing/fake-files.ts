// Folders of the fake engine's adapters: JSON files, and an adapter_config.json as PEFT has it.

import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { AdapterFile, AdapterPart, LoraConfig } from '../backend.ts'
import { engineError } from '../engine-errors.ts'
import { type FakeAdapter, mapValues, type Table, tableFromJson, tableToJson } from './fake-model.ts'

export function writeFakeAdapter(
  folder: string,
  config: LoraConfig,
  { weights, rule, slots, step }: FakeAdapter,
  part: AdapterPart,
): AdapterFile[] {
  if (existsSync(folder)) throw engineError('FOLDER_EXISTS', `folder ${folder} exists already`)
  mkdirSync(folder)
  const files: Record<string, unknown> = {
    'adapter_config.json': { peft_type: 'LORA', r: config.rank, lora_alpha: config.alpha },
    'fake_weights.json': tableToJson(weights),
  }
  if (part === 'weights+optimizer') {
    files['fake_optimizer.json'] = { rule, step, slots: mapValues(slots, tableToJson) }
  }
  return Object.entries(files).map(([name, content]) => {
    const bytes = Buffer.from(JSON.stringify(content))
    writeFileSync(join(folder, name), bytes)
    return { name, bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') }
  })
}

export function readFakeAdapter(folder: string, adapter: FakeAdapter, part: AdapterPart): void {
  const weights = readFakeWeights(folder)
  const state = part === 'weights+optimizer' ? readJson(folder, 'fake_optimizer.json') : {}
  adapter.weights = weights
  adapter.gradient = null
  adapter.rule = state.rule ?? 'adamw'
  adapter.slots = mapValues(state.slots ?? {}, tableFromJson)
  adapter.step = state.step ?? 0
}

export const readFakeWeights = (folder: string): Table => tableFromJson(readJson(folder, 'fake_weights.json'))

function readJson(folder: string, name: string) {
  const file = join(folder, name)
  if (!existsSync(file)) throw engineError('INVALID_ADAPTER', `${folder} holds no ${name}`)
  try {
    return JSON.parse(readFileSync(file, 'utf8'))
  } catch (cause) {
    throw engineError('INVALID_ADAPTER', `${file}: ${(cause as Error).message}`)
  }
}
