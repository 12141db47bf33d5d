import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { addPair } from '../../formats/merged-model.ts'
import { adaptableModules } from '../../formats/model-tensors.ts'
import { type LoraPair, readPeftAdapter, writePeftAdapter } from '../../formats/peft.ts'
import { temporaryFolder } from '../../formats/testing/temporary-folder.ts'
import { readIntoAdapter } from './adapter-files.ts'
import { importAdapter } from './adapter-import.ts'
import { goldenModel } from './testing/goldens.ts'
import { freshAdapter } from './testing/harness.ts'

const MODEL = goldenModel('llama-tied').config
const SHAPES = adaptableModules(MODEL)
const Q = 'model.layers.0.self_attn.q_proj'
const V = 'model.layers.1.self_attn.v_proj'

const ramp = (length: number, step: number) => Float32Array.from({ length }, (_, i) => Math.sin(i * step + step))

function pair(module: string, rank: number): LoraPair {
  const [out, inputs] = SHAPES.get(module) as readonly [number, number]
  return { rank, in: inputs, out, a: ramp(rank * inputs, 0.1), b: ramp(out * rank, 0.7) }
}

/** A folder as PEFT writes it, with changes in its configuration. */
function folderWith(modules: Record<string, LoraPair>, rank: number, config: Record<string, unknown> = {}): string {
  const folder = temporaryFolder()
  writePeftAdapter(folder, { baseModel: 'x', rank, alpha: 32, modules: new Map(Object.entries(modules)) })
  const file = join(folder, 'adapter_config.json')
  writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')), ...config }))
  return folder
}

/** What an adapter adds to the weight of a module, [out, in]. */
function termOf(folder: string, module: string): Float32Array {
  const [out, inputs] = SHAPES.get(module) as readonly [number, number]
  const term = new Float32Array(out * inputs)
  const found = readPeftAdapter(folder, SHAPES).modules.get(module)
  if (found) addPair(term, found)
  return term
}

const imported = (source: string, maxRank = 64) => {
  const target = join(temporaryFolder(), 'in')
  return { target, ...importAdapter(source, target, goldenModel('llama-tied'), 'org/base', maxRank) }
}

describe('an adapter with two of four projections, in some layers', () => {
  const source = folderWith({ [Q]: pair(Q, 4), [V]: pair(V, 4) }, 4)
  const result = imported(source)

  it('computes the same as before', () => {
    for (const module of [Q, V]) expect(termOf(result.target, module)).toEqual(termOf(source, module))
    expect(Math.max(...termOf(result.target, 'model.layers.0.self_attn.k_proj').map(Math.abs))).toBe(0)
  })

  it('can be trained on: every projection of its switch is there, and none starts dead', () => {
    expect(result).toMatchObject({ rank: 4, alpha: 32, trainAttention: true, trainMlp: false, trainUnembed: false })
    const adapter = freshAdapter('llama-tied', { rank: 4, trainMlp: false, trainUnembed: false })
    readIntoAdapter(result.target, MODEL, adapter, 'weights')
    const { modules } = readPeftAdapter(result.target, SHAPES)
    for (const { a } of modules.values()) expect(a.some((x) => x !== 0)).toBe(true)
  })

  it('gives the same bytes each time', () => {
    expect(imported(source).files).toEqual(result.files)
  })
})

it('ranks and scales that differ by module become one, and compute the same', () => {
  const source = folderWith({ [Q]: pair(Q, 8), [V]: pair(V, 8) }, 8)
  const mixed = folderWith({ [Q]: pair(Q, 2), [V]: pair(V, 2) }, 2, {
    r: 8,
    rank_pattern: { q_proj: 2, v_proj: 2 },
    alpha_pattern: { v_proj: 8 },
  })
  const { target, rank, alpha } = imported(mixed)
  expect({ rank, alpha }).toEqual({ rank: 2, alpha: 32 })
  expect(termOf(target, V)).toEqual(termOf(mixed, V))
  expect(imported(source)).toMatchObject({ rank: 8, alpha: 32 })
})

it('a rank-stabilised scale is kept', () => {
  const source = folderWith({ [Q]: pair(Q, 4) }, 4, { use_rslora: true })
  const { target, alpha } = imported(source)
  expect(alpha).toBe(64)
  expect(termOf(target, Q)).toEqual(termOf(source, Q))
})

it('a rank above the limit is refused with the limit', () => {
  expect(() => imported(folderWith({ [Q]: pair(Q, 8) }, 8), 4)).toThrow(
    /rank 8 is not supported; supported: ranks from 1 to 4/,
  )
})
