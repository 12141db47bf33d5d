// An adapter as the files of a PEFT folder, with AdamW's state beside them, and back. Knows which numbers of the flat buffer
// belong to which named tensor; what files look like inside is known by src/formats, when folders appear by adapter-folder.ts.

import { join } from 'node:path'
import { FormatError } from '../../formats/format-error.ts'
import type { ModelConfig } from '../../formats/model-config.ts'
import { adaptableModules } from '../../formats/model-tensors.ts'
import { type Moments, OPTIMIZER_FILE, readOptimizerState, writeOptimizerState } from '../../formats/optimizer-state.ts'
import { type LoraPair, loraTensorName, readPeftAdapter, writePeftAdapter } from '../../formats/peft.ts'
import type { AdapterPart } from '../backend.ts'
import { engineError } from '../engine-errors.ts'
import { Adapter, type AdapterWeights, type OptimizerState } from './adapter.ts'
import { type AdapterLayout, adapterLayout, PROJECTIONS, type Projection } from './adapter-layout.ts'

const MODULE: Readonly<Record<Projection, string>> = {
  q: 'self_attn.q_proj',
  k: 'self_attn.k_proj',
  v: 'self_attn.v_proj',
  o: 'self_attn.o_proj',
  gate: 'mlp.gate_proj',
  up: 'mlp.up_proj',
  down: 'mlp.down_proj',
  unembed: 'lm_head',
}

/** Where the pair of one module lies in a flat buffer, in elements: A [rank, in], B transposed [rank, out]. */
export interface ModulePlace {
  /** `model.layers.0.self_attn.q_proj`, ..., `lm_head`. */
  readonly path: string
  readonly in: number
  readonly out: number
  readonly a: number
  readonly b: number
}

export function modulePath(projection: Projection, layer: number): string {
  return projection === 'unembed' ? MODULE.unembed : `model.layers.${layer}.${MODULE[projection]}`
}

export function modulesOf({ rank, sections }: AdapterLayout): ModulePlace[] {
  return sections.flatMap(({ projection, layers, in: inputs, out, a, b }) =>
    Array.from({ length: layers }, (_, layer) => ({
      path: modulePath(projection, layer),
      in: inputs,
      out,
      a: a + layer * rank * inputs,
      b: b + layer * rank * out,
    })),
  )
}

/** Writes the files into an existing folder, each synced. */
export function writeAdapter(folder: string, baseModel: string, adapter: Adapter, part: AdapterPart): void {
  const { layout, alpha, params } = adapter
  writePeftAdapter(folder, { baseModel, rank: layout.rank, alpha, modules: pairsOf(layout, params) })
  if (part === 'weights+optimizer') writeOptimizerState(join(folder, OPTIMIZER_FILE), namedState(adapter))
}

/** Weights of any rank and projections; module ranks and scales may differ. Throws EngineError INVALID_ADAPTER. */
export function readWeights(folder: string, model: ModelConfig): AdapterWeights {
  return readAny(folder, model).freeze()
}

/**
 * Replaces the weights of an adapter, which the folder must fit in rank and projections; another scale is folded into B.
 * Throws EngineError INVALID_ADAPTER and leaves the adapter as it was.
 */
export function readAdapter(folder: string, model: ModelConfig, adapter: Adapter, part: AdapterPart): void {
  const { layout, scale } = adapter
  const found = readAny(folder, model)
  if (describe(found.layout) !== describe(layout)) {
    throw invalid(
      `${folder} holds an adapter of ${describe(found.layout)}, but this training run has ${describe(layout)}`,
    )
  }
  const params = found.params.slice()
  const factor = found.scale / scale
  if (factor !== 1) for (const section of layout.sections) scaleB(params, section, layout.rank, factor)
  if (part === 'weights') {
    adapter.replace(params, null)
    return
  }
  if (factor !== 1) {
    throw invalid(
      `${folder} was trained at scale alpha / rank = ${found.scale}, this training run has ${scale}, so its optimiser ` +
        'state does not fit; load the weights without it, or train with the alpha of the file',
    )
  }
  adapter.replace(params, readState(folder, layout))
}

function readAny(folder: string, model: ModelConfig): Adapter {
  const { modules } = read(() => readPeftAdapter(folder, adaptableModules(model)))
  const ranks = [...modules.values()].map((pair) => pair.rank)
  const rank = Math.max(...ranks)
  const used = PROJECTIONS.filter((p) => [...modules.keys()].some((path) => path.endsWith(MODULE[p])))
  const layout = adapterLayout(model, used, rank)
  const whole = [...modules.values()].find((pair) => pair.rank === rank) as { scale: number }
  const params = new Float32Array(layout.size)
  for (const place of modulesOf(layout)) {
    const pair = modules.get(place.path)
    if (pair) putPair(params, place, pair, pair.scale / whole.scale)
  }
  return new Adapter(layout, whole.scale * rank, params)
}

/** Copies of all pairs, by module path. */
function pairsOf(layout: AdapterLayout, values: Float32Array): Map<string, LoraPair> {
  const { rank } = layout
  return new Map(
    modulesOf(layout).map(({ path, in: inputs, out, a, b }) => [
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
function putPair(values: Float32Array, { a, b }: ModulePlace, pair: LoraPair, factor = 1): void {
  values.set(pair.a, a)
  const columns = transpose(pair.b, pair.out, pair.rank)
  values.set(factor === 1 ? columns : columns.map((x) => x * factor), b)
}

/** The moments by tensor name, zeros before the first step. */
function namedState({ layout, optimizer }: Adapter): { step: number; moments: Map<string, Moments> } {
  const zeros = () => new Float32Array(layout.size)
  const { m, v, step } = optimizer ?? { m: zeros(), v: zeros(), step: 0 }
  const moments = new Map<string, Moments>()
  const second = pairsOf(layout, v)
  for (const [path, first] of pairsOf(layout, m)) {
    const { a, b } = second.get(path) as LoraPair
    moments.set(loraTensorName(path, 'A'), { shape: [first.rank, first.in], m: first.a, v: a })
    moments.set(loraTensorName(path, 'B'), { shape: [first.out, first.rank], m: first.b, v: b })
  }
  return { step, moments }
}

function readState(folder: string, layout: AdapterLayout): OptimizerState {
  const { rank } = layout
  const places = modulesOf(layout)
  const expected = new Map<string, readonly number[]>()
  for (const { path, in: inputs, out } of places) {
    expected.set(loraTensorName(path, 'A'), [rank, inputs])
    expected.set(loraTensorName(path, 'B'), [out, rank])
  }
  const { step, moments } = read(() => readOptimizerState(join(folder, OPTIMIZER_FILE), expected))
  const [m, v] = (['m', 'v'] as const).map((which) => {
    const values = new Float32Array(layout.size)
    const half = (path: string, ab: 'A' | 'B') => (moments.get(loraTensorName(path, ab)) as Moments)[which]
    for (const place of places) {
      const { path, in: inputs, out } = place
      putPair(values, place, { rank, in: inputs, out, a: half(path, 'A'), b: half(path, 'B') })
    }
    return values
  }) as [Float32Array, Float32Array]
  return { m, v, step }
}

function scaleB(values: Float32Array, section: AdapterLayout['sections'][number], rank: number, factor: number): void {
  const { layers, out, b } = section
  for (let i = b; i < b + layers * rank * out; i++) values[i] = (values[i] as number) * factor
}

const describe = ({ rank, sections }: AdapterLayout) =>
  `rank ${rank} on ${sections.map((s) => s.projection).join(', ')}`

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
