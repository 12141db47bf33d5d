/** Test helper: the tiny llama model of tiny-model.ts as a GGUF converter would write it. */
import type { TensorData } from '../safetensors.ts'
import { BOOL, F32, type GgufTensorSpec, I32S, STRING, STRINGS, U32 } from './gguf-writer.ts'
import { tinyTensors } from './tiny-model.ts'

export type Metadata = [string, number | readonly [number, number], unknown][]

const TOKENS = ['<|end|>', '<|start|>', '<|stop|>', ...Array.from({ length: 61 }, (_, i) => `t${i}`)]

export function tinyMetadata(
  changes: Record<string, [number | readonly [number, number], unknown] | undefined> = {},
): Metadata {
  const all: Record<string, [number | readonly [number, number], unknown] | undefined> = {
    'general.architecture': [STRING, 'llama'],
    'llama.block_count': [U32, 2],
    'llama.context_length': [U32, 128],
    'llama.embedding_length': [U32, 32],
    'llama.feed_forward_length': [U32, 64],
    'llama.attention.head_count': [U32, 4],
    'llama.attention.head_count_kv': [U32, 2],
    'llama.attention.layer_norm_rms_epsilon': [F32, 1e-5],
    'llama.rope.freq_base': [F32, 10000],
    'tokenizer.ggml.model': [STRING, 'gpt2'],
    'tokenizer.ggml.pre': [STRING, 'smollm'],
    'tokenizer.ggml.add_bos_token': [BOOL, false],
    'tokenizer.ggml.tokens': [STRINGS, TOKENS],
    'tokenizer.ggml.token_type': [I32S, TOKENS.map((_, i) => (i < 3 ? 3 : 1))],
    'tokenizer.ggml.merges': [STRINGS, []],
    'tokenizer.ggml.bos_token_id': [U32, 0],
    'tokenizer.ggml.eos_token_id': [U32, 2],
    ...changes,
  }
  return Object.entries(all).flatMap(([key, entry]) => (entry ? [[key, entry[0], entry[1]]] : []))
}

const NAMES: readonly (readonly [RegExp, string])[] = [
  [/^model\.embed_tokens/, 'token_embd'],
  [/^model\.norm/, 'output_norm'],
  [/^model\.layers\.(\d+)\.self_attn\.([qkv])_proj/, 'blk.$1.attn_$2'],
  [/^model\.layers\.(\d+)\.self_attn\.o_proj/, 'blk.$1.attn_output'],
  [/^model\.layers\.(\d+)\.mlp\.(\w+)_proj/, 'blk.$1.ffn_$2'],
  [/^model\.layers\.(\d+)\.input_layernorm/, 'blk.$1.attn_norm'],
  [/^model\.layers\.(\d+)\.post_attention_layernorm/, 'blk.$1.ffn_norm'],
]

export function tinyGgufTensors(): GgufTensorSpec[] {
  return [...tinyTensors()].map(([name, tensor]) => {
    const rule = NAMES.find(([pattern]) => pattern.test(name))
    const rotary = /\.[qk]_proj/.test(name)
    const data = rotary ? interleaveRows(tensor, 8) : (tensor.data as Float32Array)
    return {
      name: rule ? name.replace(rule[0], rule[1]) : name,
      shape: tensor.shape,
      typeId: 0,
      bytes: new Uint8Array(data.slice().buffer),
    }
  })
}

/** [head, half, pair, in] becomes [head, pair, half, in], by the definition of the two rotary conventions. */
function interleaveRows(tensor: TensorData, headDim: number): Float32Array {
  const [rows, columns] = tensor.shape as [number, number]
  const source = tensor.data as Float32Array
  const out = new Float32Array(source.length)
  for (let head = 0; head < rows / headDim; head++) {
    for (let half = 0; half < 2; half++) {
      for (let pair = 0; pair < headDim / 2; pair++) {
        const from = (head * headDim + half * (headDim / 2) + pair) * columns
        const to = (head * headDim + pair * 2 + half) * columns
        out.set(source.subarray(from, from + columns), to)
      }
    }
  }
  return out
}
