/**
 * Rotary position tables. Angles are computed in float64 and rounded to float32 once, which stays closer to the exact
 * values than float32 angles do at long positions. Knows positions and frequencies; the rotation itself is the engine's.
 */
import type { ModelConfig } from './model-config.ts'

export interface RopeTables<T = Float32Array> {
  /** [positions, headDim / 2], row-major. */
  readonly cos: T
  readonly sin: T
}

/** Radians a position for each of the headDim / 2 pairs, scaling included. */
export function ropeFrequencies(config: Pick<ModelConfig, 'rope' | 'headDim'>): Float64Array {
  const { theta, scaling } = config.rope
  return Float64Array.from({ length: config.headDim / 2 }, (_, i) => {
    const frequency = theta ** ((-2 * i) / config.headDim)
    switch (scaling.type) {
      case 'none':
        return frequency
      case 'linear':
        return frequency / scaling.factor
      case 'divisors':
        return frequency / (scaling.divisors[i] as number)
      case 'llama3':
        return llama3Frequency(frequency, scaling)
    }
  })
}

/** Tables for positions 0 .. positions - 1. */
export function ropeTables(config: Pick<ModelConfig, 'rope' | 'headDim'>, positions: number): RopeTables {
  const { cos, sin } = ropeTablesFloat64(config, positions)
  return { cos: Float32Array.from(cos), sin: Float32Array.from(sin) }
}

/** The same without the final rounding, for float64 graphs. */
export function ropeTablesFloat64(
  config: Pick<ModelConfig, 'rope' | 'headDim'>,
  positions: number,
): RopeTables<Float64Array> {
  const frequencies = ropeFrequencies(config)
  const half = frequencies.length
  const angle = (index: number) => Math.floor(index / half) * (frequencies[index % half] as number)
  const length = positions * half
  return {
    cos: Float64Array.from({ length }, (_, index) => Math.cos(angle(index))),
    sin: Float64Array.from({ length }, (_, index) => Math.sin(angle(index))),
  }
}

/**
 * Llama 3.1: wavelengths longer than the original context are stretched by `factor`, short ones are left alone, and
 * between the two limits the frequency is mixed linearly.
 */
function llama3Frequency(
  frequency: number,
  scaling: Extract<ModelConfig['rope']['scaling'], { type: 'llama3' }>,
): number {
  const turns = (scaling.originalContext * frequency) / (2 * Math.PI)
  const { lowFrequencyFactor: low, highFrequencyFactor: high, factor } = scaling
  if (turns < low) return frequency / factor
  if (turns > high) return frequency
  const mix = (turns - low) / (high - low)
  return (1 - mix) * (frequency / factor) + mix * frequency
}
