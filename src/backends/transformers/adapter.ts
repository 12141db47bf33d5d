// One LoRA adapter under training: parameters, the gradient gathered so far, and optimiser state, each one flat array of the
// same layout. Parameters are replaced as a whole, never written in place, so whoever holds `params` holds a snapshot.
// Knows shapes and numbers; knows nothing of graphs, files or tenants.

import { createHash } from 'node:crypto'
import type { LoraConfig } from '../backend.ts'
import { engineError } from '../engine-errors.ts'
import { initialParams } from './adapter-init.ts'
import {
  type AdapterLayout,
  adaptedProjections,
  adapterLayout,
  type DecoderShape,
  PROJECTIONS,
  type Projection,
} from './adapter-layout.ts'
import type { OptimizerState } from './optimizer-state.ts'

/** Frozen weights: what a sampler draws from. Equal hashes mean equal numbers. */
export interface AdapterWeights {
  readonly layout: AdapterLayout
  readonly alpha: number
  readonly params: Float32Array
  readonly hash: string
}

const MAX_RANK = 512

export class Adapter {
  readonly layout: AdapterLayout
  readonly alpha: number
  /** It once gave numbers that were not finite: it no longer shares a batch with anybody. */
  isolated = false
  #params: Float32Array
  #gradient: Float32Array | null = null
  #optimizer: OptimizerState | null = null
  #hash: string | null = null

  constructor(layout: AdapterLayout, alpha: number, params: Float32Array) {
    if (!(Number.isFinite(alpha) && alpha > 0)) {
      throw engineError('INVALID_ADAPTER', `LoRA alpha must be a positive finite number, not ${alpha}`)
    }
    this.layout = layout
    this.alpha = alpha
    this.#params = checkParams(layout, params)
  }

  /** A fresh adapter: A from the seed, B zero. Throws EngineError INVALID_ADAPTER. */
  static create(model: DecoderShape, config: LoraConfig): Adapter {
    const { rank, alpha, seed } = config
    checkRank(rank)
    if (!/^-?\d+$/.test(seed)) {
      throw engineError('INVALID_ADAPTER', `LoRA seed must be an integer in decimal, not ${JSON.stringify(seed)}`)
    }
    const projections = adaptedProjections(config)
    if (projections.length === 0) {
      throw engineError('INVALID_ADAPTER', 'LoRA needs one of train_attn, train_mlp, train_unembed to be on')
    }
    const layout = adapterLayout(model, projections, rank)
    return new Adapter(layout, alpha, initialParams(layout, seed))
  }

  /** Factor of the low-rank term. */
  get scale(): number {
    return this.alpha / this.layout.rank
  }
  get projections(): Projection[] {
    return this.layout.sections.map((s) => s.projection)
  }
  get params(): Float32Array {
    return this.#params
  }
  /** Null when nothing was added since the last step. */
  get gradient(): Float32Array | null {
    return this.#gradient
  }
  /** Null before the first step. */
  get optimizer(): OptimizerState | null {
    return this.#optimizer
  }
  get step(): number {
    return this.#optimizer?.step ?? 0
  }

  /** Adds an operation's whole gradient; the array may be kept. */
  addGradient(gradient: Float32Array): void {
    const sum = this.#gradient
    if (!sum) {
      this.#gradient = gradient
      return
    }
    for (let i = 0; i < sum.length; i++) sum[i] = (sum[i] as number) + (gradient[i] as number)
  }
  dropGradient(): void {
    this.#gradient = null
  }
  /** The same gradient, scaled. */
  replaceGradient(gradient: Float32Array): void {
    this.#gradient = gradient
  }
  /** What an optimiser step ends in; the gradient is used up. */
  commit(params: Float32Array, optimizer: OptimizerState): void {
    this.#params = params
    this.#hash = null
    this.#optimizer = optimizer
    this.#gradient = null
  }
  /** Other weights from outside: gradients are dropped, optimiser state is restored or reset. */
  replace(params: Float32Array, optimizer: OptimizerState | null): void {
    checkParams(this.layout, params)
    for (const slot of Object.values(optimizer?.slots ?? {})) checkParams(this.layout, slot)
    this.#params = params
    this.#hash = null
    this.#optimizer = optimizer
    this.#gradient = null
    this.isolated = false
  }

  /** The weights of this moment. Cheap: later steps write elsewhere. */
  freeze(): AdapterWeights {
    this.#hash ??= hashWeights(this.layout, this.alpha, this.#params)
    return { layout: this.layout, alpha: this.alpha, params: this.#params, hash: this.#hash }
  }
}

function hashWeights(layout: AdapterLayout, alpha: number, params: Float32Array): string {
  const shape = layout.sections.map((s) => [s.projection, s.layers, s.in, s.out])
  return createHash('sha256')
    .update(JSON.stringify(['lora', layout.rank, alpha, shape]))
    .update(new Uint8Array(params.buffer, params.byteOffset, params.byteLength))
    .digest('hex')
}

function checkRank(rank: number): void {
  if (!Number.isInteger(rank) || rank < 1 || rank > MAX_RANK) {
    throw engineError('INVALID_ADAPTER', `LoRA rank must be a whole number from 1 to ${MAX_RANK}, not ${rank}`)
  }
}

/** One number that is not finite would spoil everything it meets: refused before it can. */
function checkParams(layout: AdapterLayout, params: Float32Array): Float32Array {
  if (params.length !== layout.size) {
    throw engineError('INVALID_ADAPTER', `adapter has ${params.length} parameters, its shape wants ${layout.size}`)
  }
  const bad = params.findIndex((x) => !Number.isFinite(x))
  if (bad >= 0) {
    throw engineError(
      'INVALID_ADAPTER',
      `adapter weight ${bad} (${sectionOf(layout, bad)}) is ${params[bad]}, not finite`,
    )
  }
  return params
}

function sectionOf(layout: AdapterLayout, index: number): string {
  const section = layout.sections.findLast((s) => s.a <= index)
  if (!section) return `before ${PROJECTIONS[0]}`
  return `${section.projection} ${index < section.b ? 'A' : 'B'}`
}
