/** Test helper: writes a complete, very small model folder whose every tensor holds numbers that tell it apart. */
import * as fs from 'node:fs'
import * as path from 'node:path'
import { parseModelConfig } from '../model-config.ts'
import { expectedTensors } from '../model-tensors.ts'
import { type TensorData, writeSafetensors } from '../safetensors.ts'
import { elementCount } from '../tensor.ts'
import { temporaryFolder } from './temporary-folder.ts'

export const LLAMA_CONFIG: Record<string, unknown> = {
  architectures: ['LlamaForCausalLM'],
  hidden_size: 32,
  intermediate_size: 64,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  vocab_size: 64,
  max_position_embeddings: 128,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  rope_scaling: null,
  tie_word_embeddings: true,
  bos_token_id: 0,
  eos_token_id: 2,
  torch_dtype: 'float32',
}

/** Tensor number n of the model holds n + k / 1024 at element k. */
export function tinyTensors(config: Record<string, unknown> = LLAMA_CONFIG): Map<string, TensorData> {
  const expected = [...expectedTensors(parseModelConfig('config.json', config))]
  return new Map(
    expected.map(([name, shape], n) => {
      return [name, { shape, data: Float32Array.from({ length: elementCount(shape) }, (_, k) => n + k / 1024) }]
    }),
  )
}

export function writeTinyModel(
  config: Record<string, unknown> = LLAMA_CONFIG,
  tensors: ReadonlyMap<string, TensorData> = tinyTensors(config),
): string {
  const folder = temporaryFolder()
  writeJson(folder, 'config.json', config)
  writeJson(folder, 'tokenizer.json', { model: { type: 'BPE', vocab: {}, merges: [] } })
  writeJson(folder, 'tokenizer_config.json', {})
  writeSafetensors(path.join(folder, 'model.safetensors'), tensors)
  return folder
}

export function writeJson(folder: string, name: string, json: unknown): void {
  fs.writeFileSync(path.join(folder, name), JSON.stringify(json))
}
