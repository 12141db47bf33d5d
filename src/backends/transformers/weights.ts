// Gives the base model's weights to graphs. The graphs see float32 tensors of one file that is mapped into memory and
// shared by all sessions and processes; what a checkpoint holds (bfloat16, quantised blocks, shards) is converted into
// that file once, under the content hash of the checkpoint. Knows files and names, not layers.

import { createHash, randomUUID } from 'node:crypto'
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import type { Graph } from './onnx.ts'

/** What this file needs of a model folder or a GGUF file. Names are those of Hugging Face checkpoints. */
export interface WeightSource {
  names(): Iterable<string>
  tensor(name: string): { readonly shape: readonly number[]; read(): Float32Array }
  /** Changes whenever a weight changes. */
  contentHash(): string
}

export interface Weights {
  readonly type: 'float32' | 'float64'
  /** Folder for `Runner` to find external data in; absent when the weights are inside the graph. */
  readonly folder?: string
  /** The value name of a weight, or of `dims[0]` of its rows from `firstRow` on. */
  use(graph: Graph, name: string, dims: readonly number[], firstRow?: number): string
}

interface Entry {
  readonly shape: readonly number[]
  readonly offset: number
}
const ALIGNMENT = 4096

/** Weights as float32 in a file below `cacheDir`, made when it is not there yet. Safe against two processes at once. */
export function mappedWeights(source: WeightSource, cacheDir: string): Weights {
  const folder = join(cacheDir, 'weights', createHash('sha256').update(`f32-1 ${source.contentHash()}`).digest('hex'))
  if (!existsSync(folder)) convert(source, folder)
  const index = JSON.parse(readFileSync(join(folder, 'index.json'), 'utf8')) as Record<string, Entry>
  return {
    type: 'float32',
    folder,
    use(graph, name, dims, firstRow = 0) {
      const entry = index[name]
      if (!entry) throw new Error(`the checkpoint has no tensor ${name}`)
      const rows = slice(name, entry.shape, dims, firstRow)
      const external = { location: 'weights.f32', offset: entry.offset + rows.start * 4, length: rows.count * 4 }
      return graph.initializer(rows.name, { type: 'float32', dims, external })
    },
  }
}

/** Weights inside the graph, as float64 for comparison with references or as float32. For small models. */
export function inlineWeights(source: WeightSource, type: 'float32' | 'float64'): Weights {
  return {
    type,
    use(graph, name, dims, firstRow = 0) {
      const { shape, read } = source.tensor(name)
      const rows = slice(name, shape, dims, firstRow)
      if (graph.initializers.has(rows.name)) return rows.name
      const values = read().subarray(rows.start, rows.start + rows.count)
      return graph.initializer(rows.name, { type, dims, data: type === 'float64' ? Float64Array.from(values) : values })
    },
  }
}

function slice(name: string, shape: readonly number[], dims: readonly number[], firstRow: number) {
  const [rows = 0, ...row] = shape
  const [wanted = 0, ...rest] = dims
  if (`${row}` !== `${rest}` || firstRow + wanted > rows) {
    throw new Error(
      `tensor ${name} has shape [${shape}], the model's configuration wants [${dims}] from row ${firstRow}`,
    )
  }
  const width = row.reduce((a, b) => a * b, 1)
  const whole = firstRow === 0 && wanted === rows
  return { name: whole ? name : `${name}[${firstRow}+${wanted}]`, start: firstRow * width, count: wanted * width }
}

function convert(source: WeightSource, folder: string): void {
  const temporary = `${folder}.${randomUUID()}.tmp`
  mkdirSync(temporary, { recursive: true })
  const index: Record<string, Entry> = {}
  const file = openSync(join(temporary, 'weights.f32'), 'w')
  try {
    let offset = 0
    for (const name of source.names()) {
      const { shape, read } = source.tensor(name)
      const values = read()
      const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
      for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at, bytes.length - at, offset + at)
      index[name] = { shape, offset }
      offset = Math.ceil((offset + bytes.length) / ALIGNMENT) * ALIGNMENT
    }
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
  writeFileSync(join(temporary, 'index.json'), JSON.stringify(index))
  try {
    renameSync(temporary, folder)
  } catch (error) {
    // Another process was first: its folder has the same content.
    rmSync(temporary, { recursive: true, force: true })
    if (!existsSync(folder)) throw error
  }
}
