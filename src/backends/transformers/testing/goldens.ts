// Reads the reference numbers in goldens/ for tests: checkpoints as weight sources, adapters, datums, expected tensors.

import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { openModelSource } from '../../../formats/model-folder.ts'
import { loraTensorName } from '../../../formats/peft.ts'
import { openSafetensors, readSafetensorsHeader, readTensorFloat64 } from '../../../formats/safetensors.ts'
import type { TrainingDatum } from '../../backend.ts'
import { Adapter } from '../adapter.ts'
import { type AdapterLayout, adapterLayout, PROJECTIONS } from '../adapter-layout.ts'
import { modulePath, modulePlaces } from '../module-names.ts'

export const goldenPath = (path: string) => fileURLToPath(new URL(`../goldens/${path}`, import.meta.url))
export const readGolden = (path: string) => JSON.parse(readFileSync(goldenPath(path), 'utf8'))
export const goldenModel = (model: string) => openModelSource(goldenPath(`${model}/checkpoint`))

/** Every matrix of an adapter by its PEFT name: where it is in a flat buffer, and whether transposed. */
export function peftMatrices(layout: AdapterLayout) {
  const { rank } = layout
  return modulePlaces(layout).flatMap(({ path, in: width, out, a, b }) => [
    { name: loraTensorName(path, 'A'), offset: a, rows: rank, columns: width, transposed: false },
    { name: loraTensorName(path, 'B'), offset: b, rows: out, columns: rank, transposed: true },
  ])
}

/** Fills a flat buffer from row-major PEFT tensors. */
export function flatten<T extends Float32Array | Float64Array>(
  into: T,
  layout: AdapterLayout,
  read: (name: string) => ArrayLike<number>,
): T {
  for (const { name, offset, rows, columns, transposed } of peftMatrices(layout)) {
    const values = read(name)
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < columns; j++) {
        into[offset + (transposed ? j * rows + i : i * columns + j)] = values[i * columns + j] as number
      }
    }
  }
  return into
}

export function goldenAdapter(model: string, name: string): Adapter {
  const tensors = openSafetensors(goldenPath(`${model}/adapters/${name}/adapter_model.safetensors`))
  const names = [...tensors.keys()]
  const projections = PROJECTIONS.filter((p) => names.includes(loraTensorName(modulePath(p, 0), 'A')))
  const { r, lora_alpha: alpha } = readGolden(`${model}/adapters/${name}/adapter_config.json`)
  const layout = adapterLayout(goldenModel(model).config, projections, r)
  const params = flatten(new Float32Array(layout.size), layout, (n) => tensors.get(n)?.read() ?? [])
  return new Adapter(layout, alpha, params)
}

/** A function that reads tensors of a golden file in float64. */
export function goldenTensors(path: string): (name: string) => Float64Array {
  const file = goldenPath(path)
  const { entries } = readSafetensorsHeader(file)
  return (name) => {
    const entry = entries.get(name)
    if (!entry) throw new Error(`${path} has no tensor ${name}`)
    return readTensorFloat64(file, entry)
  }
}

/** How exact the tensors of a golden file are: stored in float64, or rounded to float32. */
export const isStoredInFloat64 = (path: string) =>
  [...readSafetensorsHeader(goldenPath(path)).entries.values()].every((entry) => entry.dtype === 'F64')

interface GoldenDatum {
  readonly model_input: number[]
  readonly target_tokens: number[]
  readonly weights: number[]
  readonly soft_target_tokens: number[][]
  readonly soft_weights: number[][]
  readonly logprobs: number[]
  readonly advantages: number[]
}

export function goldenDatum(datum: GoldenDatum, lossCase: string): TrainingDatum {
  const tokens = Int32Array.from(datum.model_input)
  if (lossCase === 'cross_entropy_soft') {
    return {
      tokens,
      targets: Int32Array.from(datum.soft_target_tokens.flat()),
      width: datum.soft_target_tokens[0]?.length ?? 0,
      weights: Float32Array.from(datum.soft_weights.flat()),
    }
  }
  return {
    tokens,
    targets: Int32Array.from(datum.target_tokens),
    width: 1,
    weights: Float32Array.from(datum.weights),
    logprobs: Float32Array.from(datum.logprobs),
    advantages: Float32Array.from(datum.advantages),
  }
}

/** Largest absolute difference divided by the largest absolute value of the reference. */
export function relativeDeviation(found: ArrayLike<number>, wanted: ArrayLike<number>): number {
  let [largest, worst] = [1e-300, 0]
  for (let i = 0; i < wanted.length; i++) {
    largest = Math.max(largest, Math.abs(wanted[i] as number))
    const difference = Math.abs((found[i] as number) - (wanted[i] as number))
    worst = Number.isFinite(difference) ? Math.max(worst, difference) : Number.POSITIVE_INFINITY
  }
  return worst / largest
}

export function absoluteDeviation(found: ArrayLike<number>, wanted: ArrayLike<number>): number {
  let worst = 0
  for (let i = 0; i < wanted.length; i++) {
    const difference = Math.abs((found[i] as number) - (wanted[i] as number))
    worst = Number.isFinite(difference) ? Math.max(worst, difference) : Number.POSITIVE_INFINITY
  }
  return worst
}
