/**
 * AdamW state of an adapter in a file beside it: first and second moments of every adapter tensor, and the step count.
 * A safetensors file with tensors "m/NAME" and "v/NAME". Knows shapes and numbers; the update rule is the engine's.
 */
import { corrupt, unsupported } from './format-error.ts'
import { readFinite } from './peft.ts'
import { openSafetensors, readSafetensorsHeader, type TensorData, writeSafetensors } from './safetensors.ts'
import { formatShape } from './tensor.ts'

export const OPTIMIZER_FILE = 'optimizer.safetensors'
const VERSION = '1'

export interface Moments {
  readonly shape: readonly number[]
  readonly m: Float32Array
  readonly v: Float32Array
}

export interface OptimizerState {
  /** Optimiser steps taken; bias correction depends on it. */
  readonly step: number
  /** By the name of the adapter's tensor, e.g. `loraTensorName(module, 'A')`. */
  readonly moments: ReadonlyMap<string, Moments>
}

export function writeOptimizerState(file: string, state: OptimizerState): void {
  const tensors = new Map<string, TensorData>()
  for (const [name, { shape, m, v }] of state.moments) {
    tensors.set(`m/${name}`, { shape, data: m })
    tensors.set(`v/${name}`, { shape, data: v })
  }
  writeSafetensors(file, tensors, { optimizer: 'adamw', version: VERSION, step: String(state.step) })
}

/** `expected` gives the shape of every adapter tensor; state for others or without some is refused. Throws FormatError. */
export function readOptimizerState(file: string, expected: ReadonlyMap<string, readonly number[]>): OptimizerState {
  const { metadata } = readSafetensorsHeader(file)
  const kind = `${metadata.get('optimizer')} version ${metadata.get('version')}`
  if (kind !== `adamw version ${VERSION}`)
    throw unsupported(file, `optimizer state "${kind}"`, [`adamw version ${VERSION}`])
  const step = Number(metadata.get('step'))
  if (!Number.isSafeInteger(step) || step < 0) throw corrupt(file, `step is ${metadata.get('step')}, not a count`)
  const tensors = openSafetensors(file)
  const read = (name: string, shape: readonly number[]) => {
    const tensor = tensors.get(name)
    if (!tensor) throw corrupt(file, `lacks tensor "${name}"`)
    if (formatShape(tensor.shape) !== formatShape(shape)) {
      throw corrupt(file, `tensor "${name}" has shape ${formatShape(tensor.shape)}, the adapter ${formatShape(shape)}`)
    }
    return readFinite(file, tensor)
  }
  const moments = new Map<string, Moments>()
  for (const [name, shape] of expected) {
    const [m, v] = [read(`m/${name}`, shape), read(`v/${name}`, shape)]
    if (v.some((value) => value < 0)) throw corrupt(file, `tensor "v/${name}" holds negative numbers`)
    moments.set(name, { shape, m, v })
  }
  if (tensors.size !== 2 * moments.size) throw corrupt(file, 'holds state for tensors that the adapter does not have')
  return { step, moments }
}
