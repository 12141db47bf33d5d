/**
 * A base model with an adapter merged into its weights, as a Hugging Face folder that loads without PEFT:
 * W' = W + scale B A for every adapted module. One tensor is in memory at a time. Knows files and numbers, no servers.
 */
import * as path from 'node:path'
import { type FloatDType, fromFloat32 } from './dtype.ts'
import { writeFileAtomically } from './file-bytes.ts'
import { corrupt } from './format-error.ts'
import type { ModelFiles } from './model-folder.ts'
import type { LoraPair, PeftAdapter } from './peft.ts'
import { type TensorSource, writeSafetensorsLazily } from './safetensors.ts'

const WEIGHTS_FILE = 'model.safetensors'
const EMBEDDING = 'model.embed_tokens.weight'
const HEAD = 'lm_head'
/** As config.json calls them. */
const TORCH_NAMES: Readonly<Record<FloatDType, string>> = { F32: 'float32', F16: 'float16', BF16: 'bfloat16' }

/**
 * Writes config.json, model.safetensors and the tokenizer's files into an existing folder. Without `dtype` each tensor
 * keeps the type that the base model has it in; what is quantised there becomes F32, which holds it exactly.
 * Sums are made in float64 and rounded once. Throws FormatError where a merged weight is beyond the range of its type.
 */
export function writeMergedModel(
  folder: string,
  base: ModelFiles,
  { modules }: Pick<PeftAdapter, 'modules'>,
  dtype?: FloatDType,
): void {
  const file = path.join(folder, WEIGHTS_FILE)
  // A tied model uses its embedding as the output projection: with an adapter on one of the two, they are two tensors.
  const isUntied = base.config.tied && modules.has(HEAD)
  const tensors = new Map<string, TensorSource>()
  const add = (name: string, source: string) =>
    tensors.set(name, mergedTensor(file, base, name, source, modules.get(moduleOf(name)), dtype))
  for (const name of base.names()) add(name, name)
  if (isUntied) add(`${HEAD}.weight`, EMBEDDING)
  writeSafetensorsLazily(file, tensors, { format: 'pt' })
  const { 'config.json': config, ...others } = base.tokenizerFiles()
  for (const [name, bytes] of Object.entries(others)) writeFileAtomically(path.join(folder, name), [bytes])
  const type = (tensors.get(EMBEDDING) as TensorSource).dtype as FloatDType
  writeFileAtomically(path.join(folder, 'config.json'), [mergedConfig(config as Uint8Array, type, isUntied)])
}

const moduleOf = (tensor: string) => tensor.replace(/\.weight$/, '')

function mergedTensor(
  file: string,
  base: ModelFiles,
  name: string,
  source: string,
  pair: (LoraPair & { readonly scale: number }) | undefined,
  dtype?: FloatDType,
): TensorSource {
  const tensor = base.tensor(source)
  const type = dtype ?? floatType(tensor.dtype)
  return {
    shape: tensor.shape,
    dtype: type,
    read() {
      const values = tensor.read()
      if (pair) addPair(values, pair)
      const rounded = fromFloat32(values, type)
      if (isBeyondRange(rounded, type)) {
        throw corrupt(file, `tensor "${name}" has weights that ${type} cannot hold; write F32 or BF16`)
      }
      return rounded
    },
  }
}

/** The type to write for one that is read. */
function floatType(dtype: string): FloatDType {
  return dtype === 'F16' || dtype === 'BF16' ? dtype : 'F32'
}

/** `weight` [out, in] += scale B A. */
export function addPair(
  weight: Float32Array,
  { rank, in: inputs, out, a, b, scale }: LoraPair & { scale: number },
): void {
  const row = new Float64Array(inputs)
  for (let o = 0; o < out; o++) {
    row.fill(0)
    for (let r = 0; r < rank; r++) {
      const factor = scale * (b[o * rank + r] as number)
      if (factor === 0) continue
      const from = r * inputs
      for (let i = 0; i < inputs; i++) row[i] = (row[i] as number) + factor * (a[from + i] as number)
    }
    const at = o * inputs
    for (let i = 0; i < inputs; i++) weight[at + i] = (weight[at + i] as number) + (row[i] as number)
  }
}

function isBeyondRange(values: Float32Array | Uint16Array, dtype: FloatDType): boolean {
  if (values instanceof Float32Array) return values.some((value) => !Number.isFinite(value))
  const infinite = dtype === 'F16' ? 0x7c00 : 0x7f80
  return values.some((bits) => (bits & infinite) === infinite)
}

function mergedConfig(bytes: Uint8Array, dtype: FloatDType, isUntied: boolean): Uint8Array {
  const config: Record<string, unknown> = JSON.parse(new TextDecoder().decode(bytes))
  // transformers 5 reads `dtype`, those before it `torch_dtype`.
  const name = TORCH_NAMES[dtype]
  const merged = { ...config, dtype: name, torch_dtype: name, ...(isUntied && { tie_word_embeddings: false }) }
  return new TextEncoder().encode(`${JSON.stringify(merged, null, 2)}\n`)
}
