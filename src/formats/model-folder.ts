/**
 * A base model as the engine sees it, whatever it is stored in: configuration, tensors by Hugging Face name, and the
 * files a tokenizer needs. Opening reads and checks headers only; weights are read tensor by tensor.
 */
import * as fs from 'node:fs'
import { missing, unsupported } from './format-error.ts'
import { openHuggingFaceFolder } from './hugging-face-folder.ts'
import type { ModelConfig } from './model-config.ts'
import { openModelGguf } from './model-gguf.ts'
import type { LazyTensor } from './tensor.ts'

export interface ModelFiles {
  /** Absolute path of the folder or the .gguf file. */
  readonly path: string
  readonly kind: 'folder' | 'gguf'
  readonly config: ModelConfig
  /** The tensors that the engine needs, by Hugging Face names, sorted. */
  names(): string[]
  /** Throws a FormatError for a name that is not in `names()`. */
  tensor(name: string): LazyTensor
  /**
   * A key for caches of converted weights, 64 hex digits: changes whenever the files may have changed. Cheap, since no
   * weights are read; a copy of the same model elsewhere has another key.
   */
  contentHash(): string
  /**
   * What a Hugging Face tokenizer is loaded from, by file name: config.json, tokenizer.json, tokenizer_config.json, and
   * the rest as far as the model has it. Built from the metadata for a GGUF file.
   */
  tokenizerFiles(): Record<string, Uint8Array>
}

/** Opens a Hugging Face folder or a .gguf file and checks it as a whole. Throws FormatError. */
export function openModelSource(path: string): ModelFiles {
  const stat = fs.statSync(path, { throwIfNoEntry: false })
  if (!stat) {
    throw missing(path, 'no such model; give a Hugging Face folder (config.json, *.safetensors) or a .gguf file')
  }
  if (stat.isDirectory()) return openHuggingFaceFolder(path)
  if (path.endsWith('.gguf')) return openModelGguf(path)
  throw unsupported(path, 'this kind of model file', ['a Hugging Face folder', 'a .gguf file'])
}
