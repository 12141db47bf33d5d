// An adapter as a PEFT folder, with its optimiser's state beside it, and back. Knows which adapter a folder fits; what files look
// like inside is known by src/formats, how a folder appears as a whole by adapter-folder.ts.

import { join } from 'node:path'
import { FormatError } from '../../formats/format-error.ts'
import type { ModelConfig } from '../../formats/model-config.ts'
import { adaptableModules } from '../../formats/model-tensors.ts'
import {
  OPTIMIZER_FILE,
  readOptimizerState,
  type SlotTensor,
  writeOptimizerState,
} from '../../formats/optimizer-state.ts'
import {
  type LoraPair,
  loraTensorName,
  type PeftAdapter,
  readPeftAdapter,
  writePeftAdapter,
} from '../../formats/peft.ts'
import type { AdapterFile, AdapterPart } from '../backend.ts'
import { engineError } from '../engine-errors.ts'
import { Adapter, type AdapterWeights } from './adapter.ts'
import { writeFolder } from './adapter-folder.ts'
import { type AdapterLayout, adapterLayout, PROJECTIONS } from './adapter-layout.ts'
import { type ModulePlace, modulePath, modulePlaces } from './module-names.ts'
import type { OptimizerState } from './optimizer-state.ts'

/** Writes a new folder, synced, and says what is in it. Throws FOLDER_EXISTS where there is one. */
export function writeAdapterFolder(
  folder: string,
  baseModel: string,
  adapter: Adapter,
  part: AdapterPart,
): readonly AdapterFile[] {
  return writeFolder(folder, (temporary) => {
    const { layout, alpha, params } = adapter
    writePeftAdapter(temporary, { baseModel, rank: layout.rank, alpha, modules: pairsOf(layout, params) })
    if (part === 'weights+optimizer') writeOptimizerState(join(temporary, OPTIMIZER_FILE), namedState(adapter))
  })
}

/** Weights to sample from, of any rank and projections; module ranks and scales may differ. Throws INVALID_ADAPTER. */
export function readSnapshot(folder: string, model: ModelConfig, maxRank: number): AdapterWeights {
  const { modules } = readFolder(folder, model)
  const rank = Math.max(...[...modules.values()].map((pair) => pair.rank))
  if (rank > maxRank) throw invalid(`${folder} has rank ${rank}; up to ${maxRank} can be sampled`)
  const projections = PROJECTIONS.filter((p) => layerIndices(model).some((layer) => modules.has(modulePath(p, layer))))
  const layout = adapterLayout(model, projections, rank)
  const widest = [...modules.values()].find((pair) => pair.rank === rank) as { scale: number }
  return new Adapter(layout, widest.scale * rank, flatten(layout, modules, widest.scale)).freeze()
}

/**
 * Replaces the weights of an adapter by those of a folder that has its rank and its modules; another scale is folded into
 * B. Throws INVALID_ADAPTER and leaves the adapter as it was.
 */
export function readIntoAdapter(folder: string, model: ModelConfig, adapter: Adapter, part: AdapterPart): void {
  const { layout, scale } = adapter
  const { modules } = readFolder(folder, model)
  checkSameModules(folder, layout, modules)
  const params = flatten(layout, modules, scale)
  if (part === 'weights') {
    adapter.replace(params, null)
    return
  }
  const foreign = [...modules].find(([, pair]) => pair.scale !== scale)
  if (foreign) {
    throw invalid(
      `${folder} was trained at scale alpha / rank = ${foreign[1].scale} (module ${foreign[0]}), this adapter at ${scale}, ` +
        'so its optimiser state does not fit; load the weights alone, or create the adapter with the alpha of the folder',
    )
  }
  adapter.replace(params, readState(folder, layout))
}

type Modules = PeftAdapter['modules']

const layerIndices = (model: ModelConfig) => [...Array(model.layers).keys()]

const readFolder = (folder: string, model: ModelConfig) => read(() => readPeftAdapter(folder, adaptableModules(model)))

function checkSameModules(folder: string, layout: AdapterLayout, modules: Modules): void {
  const wanted = new Set(modulePlaces(layout).map(({ path }) => path))
  const lacking = [...wanted].find((module) => !modules.has(module))
  const foreign = [...modules.keys()].find((module) => !wanted.has(module))
  if (lacking) throw invalid(`${folder} has no weights for module ${lacking}, which this adapter trains`)
  if (foreign) throw invalid(`${folder} has weights for module ${foreign}, which this adapter does not train`)
  for (const [module, { rank }] of modules) {
    if (rank !== layout.rank)
      throw invalid(`${folder} has rank ${rank} (module ${module}), this adapter ${layout.rank}`)
  }
}

/** All pairs in one buffer, zeros where there is none; what differs from `scale` is folded into B. */
function flatten(layout: AdapterLayout, modules: Modules, scale: number): Float32Array {
  const params = new Float32Array(layout.size)
  for (const place of modulePlaces(layout)) {
    const pair = modules.get(place.path)
    if (pair) putPair(params, place, pair, pair.scale / scale)
  }
  return params
}

/** Copies of all pairs, by module path. */
function pairsOf(layout: AdapterLayout, values: Float32Array): Map<string, LoraPair> {
  const { rank } = layout
  return new Map(
    modulePlaces(layout).map(({ path, in: inputs, out, a, b }) => [
      path,
      {
        rank,
        in: inputs,
        out,
        a: values.slice(a, a + rank * inputs),
        b: transpose(values.subarray(b, b + rank * out), rank, out),
      },
    ]),
  )
}

/** A pair of a lower rank fills the first rows. `factor` multiplies B. */
export function putPair(values: Float32Array, { a, b }: ModulePlace, pair: LoraPair, factor = 1): void {
  values.set(pair.a, a)
  const columns = transpose(pair.b, pair.out, pair.rank)
  values.set(factor === 1 ? columns : columns.map((x) => x * factor), b)
}

/** The state by slot and tensor name; before the first step, AdamW's zeros, with which any rule can begin. */
function namedState({ layout, optimizer }: Adapter) {
  const zeros = () => new Float32Array(layout.size)
  const { rule, step, slots } = optimizer ?? { rule: 'adamw', step: 0, slots: { m: zeros(), v: zeros() } }
  const named = new Map(Object.entries(slots).map(([slot, values]) => [slot, namedTensors(layout, values)]))
  return { rule, step, slots: named }
}

function namedTensors(layout: AdapterLayout, values: Float32Array): Map<string, SlotTensor> {
  const tensors = new Map<string, SlotTensor>()
  for (const [path, { rank, in: inputs, out, a, b }] of pairsOf(layout, values)) {
    tensors.set(loraTensorName(path, 'A'), { shape: [rank, inputs], data: a })
    tensors.set(loraTensorName(path, 'B'), { shape: [out, rank], data: b })
  }
  return tensors
}

function readState(folder: string, layout: AdapterLayout): OptimizerState {
  const { rank } = layout
  const places = modulePlaces(layout)
  const expected = new Map<string, readonly number[]>()
  for (const { path, in: inputs, out } of places) {
    expected.set(loraTensorName(path, 'A'), [rank, inputs])
    expected.set(loraTensorName(path, 'B'), [out, rank])
  }
  const { rule, step, slots } = read(() => readOptimizerState(join(folder, OPTIMIZER_FILE), expected))
  const flat = [...slots].map(([slot, tensors]) => {
    const values = new Float32Array(layout.size)
    const half = (path: string, ab: 'A' | 'B') => (tensors.get(loraTensorName(path, ab)) as SlotTensor).data
    for (const place of places) {
      const { path, in: inputs, out } = place
      putPair(values, place, { rank, in: inputs, out, a: half(path, 'A'), b: half(path, 'B') })
    }
    return [slot, values] as const
  })
  return { rule: rule as OptimizerState['rule'], step, slots: Object.fromEntries(flat) }
}

/** [rows, columns] to [columns, rows]. */
function transpose(values: Float32Array, rows: number, columns: number): Float32Array {
  const out = new Float32Array(values.length)
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < columns; c++) out[c * rows + r] = values[r * columns + c] as number
  }
  return out
}

const invalid = (sentence: string) => engineError('INVALID_ADAPTER', sentence)

function read<T>(reader: () => T): T {
  try {
    return reader()
  } catch (error) {
    throw error instanceof FormatError ? invalid(error.message) : error
  }
}
