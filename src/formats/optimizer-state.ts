/**
 * Optimiser state of an adapter in a file beside it: what a rule keeps for every adapter tensor, and the step count. A
 * safetensors file with tensors "SLOT/NAME", such as "m/NAME" and "v/NAME"; its metadata names the rule. Knows shapes, and
 * which slots a rule has; how it moves weights is the engine's.
 */
import { corrupt, unsupported } from './format-error.ts'
import { readFinite } from './peft.ts'
import { openSafetensors, readSafetensorsHeader, type TensorData, writeSafetensors } from './safetensors.ts'
import { formatShape, type LazyTensor } from './tensor.ts'

export const OPTIMIZER_FILE = 'optimizer.safetensors'
const VERSION = '1'

interface Slots {
  readonly slots: readonly string[]
  /** Whether there is a state without them. */
  readonly isOptional: boolean
}
const MOMENTS: Slots = { slots: ['m', 'v'], isOptional: false }
const RULES: Readonly<Record<string, Slots>> = {
  adamw: MOMENTS,
  adam: MOMENTS,
  sgd: { slots: ['momentum'], isOptional: true },
}
/** Second moments are sums of squares. */
const NEVER_NEGATIVE = 'v'

export interface SlotTensor {
  readonly shape: readonly number[]
  readonly data: Float32Array
}

export interface OptimizerState {
  /** `adamw`, `adam` or `sgd`. */
  readonly rule: string
  /** Optimiser steps taken; bias correction depends on it. */
  readonly step: number
  /** By slot, then by the name of the adapter's tensor, e.g. `loraTensorName(module, 'A')`. */
  readonly slots: ReadonlyMap<string, ReadonlyMap<string, SlotTensor>>
}

export function writeOptimizerState(file: string, { rule, step, slots }: OptimizerState): void {
  const tensors = new Map<string, TensorData>()
  for (const [slot, ofSlot] of slots) for (const [name, tensor] of ofSlot) tensors.set(`${slot}/${name}`, tensor)
  writeSafetensors(file, tensors, { optimizer: rule, version: VERSION, step: String(step) })
}

/** `expected` gives the shape of every adapter tensor; state for others or without some is refused. Throws FormatError. */
export function readOptimizerState(file: string, expected: ReadonlyMap<string, readonly number[]>): OptimizerState {
  const { metadata } = readSafetensorsHeader(file)
  const rule = String(metadata.get('optimizer'))
  const kind = `${rule} version ${metadata.get('version')}`
  const known = Object.hasOwn(RULES, rule) ? RULES[rule] : undefined
  if (!known || metadata.get('version') !== VERSION) {
    const supported = Object.keys(RULES).map((name) => `${name} version ${VERSION}`)
    throw unsupported(file, `optimizer state "${kind}"`, supported)
  }
  const step = Number(metadata.get('step'))
  if (!Number.isSafeInteger(step) || step < 0) throw corrupt(file, `step is ${metadata.get('step')}, not a count`)
  const tensors = openSafetensors(file)
  const names = known.isOptional && tensors.size === 0 ? [] : known.slots
  const slots = new Map(names.map((slot) => [slot, readSlot(file, tensors, slot, expected)] as const))
  if (tensors.size !== names.length * expected.size) {
    throw corrupt(file, 'holds state for tensors that the adapter does not have')
  }
  return { rule, step, slots }
}

function readSlot(
  file: string,
  tensors: ReadonlyMap<string, LazyTensor>,
  slot: string,
  expected: ReadonlyMap<string, readonly number[]>,
): ReadonlyMap<string, SlotTensor> {
  const found = new Map<string, SlotTensor>()
  for (const [name, shape] of expected) {
    const full = `${slot}/${name}`
    const tensor = tensors.get(full)
    if (!tensor) throw corrupt(file, `lacks tensor "${full}"`)
    if (formatShape(tensor.shape) !== formatShape(shape)) {
      throw corrupt(file, `tensor "${full}" has shape ${formatShape(tensor.shape)}, the adapter ${formatShape(shape)}`)
    }
    const data = readFinite(file, tensor)
    if (slot === NEVER_NEGATIVE && data.some((value) => value < 0)) {
      throw corrupt(file, `tensor "${full}" holds negative numbers`)
    }
    found.set(name, { shape, data })
  }
  return found
}
