// What the checks work with: an engine, ids that no other check uses, and a tenant, which is one adapter with the few moves
// that checks are made of. Failures that a check does not expect are thrown with the engine's own sentence.

import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import type {
  ClipResult,
  Engine,
  EngineFailure,
  GenerationEvent,
  GenerationRequest,
  GradientClip,
  LoraConfig,
  OptimResult,
  OptimStep,
  Outcome,
  TrainingDatum,
  TrainingItem,
  TrainingResult,
} from '../backend.ts'
import { type AdamFields, collect, datum, generation, gradientClip, LORA, optimStep, trainingItem } from './requests.ts'

export interface Bench {
  /** The engine under test, shared by all checks. */
  readonly engine: Engine
  /** Another engine of the same model, for checks that close it. */
  open(): Promise<Engine>
  /** An existing folder that the engine can write to. */
  readonly folder: string
}

export interface Check {
  readonly name: string
  run(bench: Bench): Promise<void>
}

export const newPath = ({ folder }: Bench): string => join(folder, randomUUID())
export const newId = (): string => randomUUID()

/** The datums that checks train on: a short one and a longer one. */
export const SHORT: TrainingDatum = datum(5, 6, 7, 8)
export const LONG: TrainingDatum = datum(9, 4, 11, 6, 13, 8, 7, 10, 5, 12, 3, 14)

export class Tenant {
  readonly id = newId()
  readonly engine: Engine

  private constructor(engine: Engine) {
    this.engine = engine
  }

  static async create(engine: Engine, config: Partial<LoraConfig> = {}): Promise<Tenant> {
    const tenant = new Tenant(engine)
    await engine.createAdapter(tenant.id, { ...LORA, ...config })
    return tenant
  }
  /** One with weights of its own: fresh adapters compute what the base model does. */
  static async trained(engine: Engine, datums: readonly TrainingDatum[] = [SHORT]): Promise<Tenant> {
    const tenant = await Tenant.create(engine)
    for (let i = 0; i < 2; i++) await tenant.learn(datums)
    return tenant
  }

  item(datums: readonly TrainingDatum[], fields: Partial<TrainingItem> = {}): TrainingItem {
    return trainingItem(newId(), this.id, { datums, ...fields })
  }
  step(fields: AdamFields = {}): OptimStep {
    return optimStep(newId(), this.id, fields)
  }

  async forward(datums: readonly TrainingDatum[], fields: Partial<TrainingItem> = {}): Promise<TrainingResult> {
    return this.backward(datums, { backward: false, ...fields })
  }
  async backward(datums: readonly TrainingDatum[], fields: Partial<TrainingItem> = {}): Promise<TrainingResult> {
    const [outcome] = await collect(this.engine.train([this.item(datums, fields)]))
    return resultOf(outcome)
  }
  async optimise(fields: AdamFields = {}): Promise<OptimResult> {
    return this.stepBy(this.step(fields))
  }
  /** A step by any rule. */
  async stepBy(step: OptimStep): Promise<OptimResult> {
    const [outcome] = await this.engine.optimStep([step])
    return resultOf(outcome)
  }
  async clip(fields: Partial<GradientClip> = {}): Promise<ClipResult> {
    const [outcome] = await this.engine.clipGradients([gradientClip(newId(), this.id, fields)])
    return resultOf(outcome)
  }
  async learn(datums: readonly TrainingDatum[], fields: AdamFields = {}): Promise<OptimResult> {
    await this.backward(datums)
    return this.optimise(fields)
  }
  /** Norm of the gradient gathered so far, which is used up; 0 when there is none. */
  async gradientNorm(): Promise<number> {
    return (await this.optimise({ learningRate: 0 })).gradientNorm
  }
}

export async function sample(
  engine: Engine,
  fields: Partial<GenerationRequest> = {},
  signal?: AbortSignal,
): Promise<GenerationEvent[]> {
  return collect(engine.generate(generation(newId(), fields), signal))
}

export function resultOf<T>(outcome: Outcome<T> | undefined): T {
  assert(outcome, 'the engine gave no outcome')
  if ('error' in outcome) assert.fail(`the operation failed: ${outcome.error.code}: ${outcome.error.message}`)
  return outcome.result
}

export function failureOf(outcome: Outcome<unknown> | undefined): EngineFailure {
  assert(outcome, 'the engine gave no outcome')
  if ('result' in outcome) assert.fail('the operation succeeded, but it had to be refused')
  const { category, code, message } = outcome.error
  assert(message.length > 10, `an error says in a sentence what is wrong, not ${JSON.stringify(outcome.error)}`)
  assert.deepEqual(outcome.error, { category, code, message }, 'the error of an outcome is plain data')
  return outcome.error
}

/** The promise must fail with one of these codes, and a sentence. */
export async function refused(promise: Promise<unknown>, ...codes: string[]): Promise<void> {
  const error = await promise.then(
    () => assert.fail(`it had to fail with ${codes.join(' or ')}, but succeeded`),
    (e: EngineFailure) => e,
  )
  assert(codes.includes(error.code), `it had to fail with ${codes.join(' or ')}, but failed with ${error}`)
  assert(error.message.length > 10, 'an error says in a sentence what is wrong')
}

/** The same bits, NaN included. */
export function sameBits(found: Float32Array, wanted: Float32Array, what: string): void {
  const bytes = ({ buffer, byteOffset, byteLength }: Float32Array) => Buffer.from(buffer, byteOffset, byteLength)
  assert(bytes(found).equals(bytes(wanted)), `${what}: the same bits were expected, found ${found}, wanted ${wanted}`)
}

/** Equal within `tolerance` of the wanted number, or of 1 for smaller numbers. */
export function close(found: number, wanted: number, what: string, tolerance = 1e-4): void {
  const distance = Math.abs(found - wanted) / Math.max(1, Math.abs(wanted))
  assert(distance <= tolerance, `${what}: found ${found}, wanted ${wanted} within ${tolerance}`)
}

export function allClose(found: ArrayLike<number>, wanted: ArrayLike<number>, what: string, tolerance = 1e-4): void {
  assert.equal(found.length, wanted.length, `${what}: length`)
  for (let i = 0; i < wanted.length; i++) close(found[i] as number, wanted[i] as number, `${what}[${i}]`, tolerance)
}
