/**
 * The weights of a Hugging Face model folder: one model.safetensors, or shards listed by an index.
 * Knows file names and the index; the bytes are safetensors.ts, the meaning of names is model-tensors.ts.
 */
import * as fs from 'node:fs'
import * as path from 'node:path'
import { readJsonObject } from './file-bytes.ts'
import { corrupt, missing } from './format-error.ts'
import { openSafetensors } from './safetensors.ts'
import type { LazyTensor } from './tensor.ts'

const SINGLE = 'model.safetensors'
const INDEX = 'model.safetensors.index.json'

export interface FolderWeights {
  readonly tensors: ReadonlyMap<string, LazyTensor>
  /** The files that hold them, absolute paths. */
  readonly files: readonly string[]
}

/** Opens the weights of a folder; reads headers only. Throws FormatError. */
export function openSafetensorsFolder(folder: string): FolderWeights {
  const single = path.resolve(folder, SINGLE)
  if (fs.existsSync(single)) return { tensors: openSafetensors(single), files: [single] }
  const index = path.resolve(folder, INDEX)
  if (fs.existsSync(index)) return openShards(folder, index)
  const others = fs.readdirSync(folder).filter((name) => /\.(bin|pt|pth|ckpt|h5|msgpack|safetensors|gguf)$/.test(name))
  const found =
    others.length > 0
      ? `found ${others.join(', ')}; convert with save_pretrained(safe_serialization=True)`
      : 'found no weights'
  throw missing(folder, `has neither ${SINGLE} nor ${INDEX}; ${found}`)
}

function openShards(folder: string, index: string): FolderWeights {
  const weightMap = readJsonObject(index).weight_map
  if (weightMap === null || typeof weightMap !== 'object') throw corrupt(index, 'has no "weight_map" object')
  const shards = new Map<string, Map<string, LazyTensor>>()
  const tensors = new Map<string, LazyTensor>()
  for (const [name, shardName] of Object.entries(weightMap)) {
    const shard = shardPath(folder, index, name, shardName)
    if (!shards.has(shard)) shards.set(shard, openSafetensors(shard))
    const tensor = shards.get(shard)?.get(name)
    if (!tensor) throw corrupt(shard, `lacks tensor "${name}", which ${INDEX} says is in it`)
    tensors.set(name, tensor)
  }
  return { tensors, files: [...shards.keys()] }
}

/** An index may name only its neighbours: anything else would read a stranger's choice of file. */
function shardPath(folder: string, index: string, tensor: string, shard: unknown): string {
  if (typeof shard !== 'string' || !/^[\w.-]+\.safetensors$/.test(shard)) {
    throw corrupt(
      index,
      `tensor "${tensor}" is said to be in ${JSON.stringify(shard)}; only plain names ending in .safetensors are followed`,
    )
  }
  return path.resolve(folder, shard)
}
