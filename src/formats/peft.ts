/**
 * Reads and writes PEFT LoRA adapter folders: adapter_config.json and adapter_model.safetensors.
 * Adapters come from strangers: configuration, names, shapes and every number are checked, and what would change the
 * computation in a way that plain LoRA does not (DoRA, biases, saved modules, ...) is refused in words.
 * Knows one adapter; what it is trained with is optimizer-state.ts.
 */
import * as fs from 'node:fs'
import * as path from 'node:path'
import { readJsonObject, writeFileAtomically } from './file-bytes.ts'
import { corrupt, missing, unsupported } from './format-error.ts'
import { JsonFields } from './json-fields.ts'
import type { ModelFiles } from './model-folder.ts'
import { moduleScale, type PeftConfig, parsePeftConfig } from './peft-config.ts'
import { openSafetensors, type TensorData, writeSafetensors } from './safetensors.ts'
import { formatShape, type LazyTensor } from './tensor.ts'

const CONFIG_FILE = 'adapter_config.json'
const WEIGHTS_FILE = 'adapter_model.safetensors'
const LARGEST_RANK = 4096

/** The low-rank term of one module: y += scale B (A x). */
export interface LoraPair {
  readonly rank: number
  readonly in: number
  readonly out: number
  /** [rank, in], row-major. */
  readonly a: Float32Array
  /** [out, rank], row-major. */
  readonly b: Float32Array
}

export interface PeftAdapter {
  readonly config: PeftConfig
  /** By module path: "model.layers.0.self_attn.q_proj", ..., "lm_head". */
  readonly modules: ReadonlyMap<string, LoraPair & { readonly scale: number }>
}

/**
 * Reads an adapter for a model. `adaptable` gives [out, in] of each module that may carry one (`adaptableModules`). PEFT
 * saves a copy of the embedding beside an adapter on the output projection: with `base`, a copy that holds the base model's
 * own numbers is passed over; any other is refused. Throws FormatError.
 */
export function readPeftAdapter(
  folder: string,
  adaptable: ReadonlyMap<string, readonly [number, number]>,
  base?: Pick<ModelFiles, 'config' | 'tensor'>,
): PeftAdapter {
  const configFile = path.join(folder, CONFIG_FILE)
  const config = parsePeftConfig(new JsonFields(configFile, readJsonObject(configFile)))
  const file = path.join(folder, WEIGHTS_FILE)
  if (!fs.existsSync(file)) throw missing(folder, `has no ${WEIGHTS_FILE}${hintForPickle(folder)}`)
  const tensors = openSafetensors(file)
  if (base) passOverCopies(file, tensors, base)
  const halves = groupByModule(file, tensors)
  if (halves.size === 0) throw corrupt(file, 'holds no LoRA tensors')
  const modules = new Map<string, LoraPair & { scale: number }>()
  for (const [module, { A, B }] of halves) {
    const shape = adaptable.get(module)
    if (!shape) throw unsupported(file, `an adapter for module "${module}"`, summarise([...adaptable.keys()]))
    if (!A || !B) throw corrupt(file, `module "${module}" has no ${loraTensorName(module, A ? 'B' : 'A')}`)
    const pair = readPair(file, A, B, shape)
    modules.set(module, { ...pair, scale: moduleScale(configFile, config, module, pair.rank) })
  }
  return { config, modules }
}

export interface AdapterToWrite {
  readonly baseModel: string
  readonly rank: number
  readonly alpha: number
  readonly modules: ReadonlyMap<string, LoraPair>
}

/** Writes the two files into an existing folder, synced. PEFT, vLLM and this module read them. */
export function writePeftAdapter(folder: string, adapter: AdapterToWrite): void {
  const tensors = new Map<string, TensorData>()
  for (const [module, { rank, in: inputs, out, a, b }] of adapter.modules) {
    if (rank !== adapter.rank) throw new RangeError(`module "${module}" has rank ${rank}, the adapter ${adapter.rank}`)
    tensors.set(loraTensorName(module, 'A'), { shape: [rank, inputs], data: a })
    tensors.set(loraTensorName(module, 'B'), { shape: [out, rank], data: b })
  }
  writeSafetensors(path.join(folder, WEIGHTS_FILE), tensors, { format: 'pt' })
  const json = JSON.stringify(configJson(adapter), null, 2)
  writeFileAtomically(path.join(folder, CONFIG_FILE), [new TextEncoder().encode(`${json}\n`)])
}

/** As PEFT names the tensors of a module of a causal language model. */
export function loraTensorName(module: string, half: 'A' | 'B'): string {
  return `base_model.model.${module}.lora_${half}.weight`
}

/** Takes out of `tensors` what is the base model's own. */
function passOverCopies(
  file: string,
  tensors: Map<string, LazyTensor>,
  { config, tensor }: Pick<ModelFiles, 'config' | 'tensor'>,
): void {
  for (const [name, copy] of tensors) {
    const [, module] = /^base_model\.model\.(lm_head|model\.embed_tokens)(?:\.base_layer)?\.weight$/.exec(name) ?? []
    if (module === undefined) continue
    const own = tensor(module === 'lm_head' && !config.tied ? 'lm_head.weight' : 'model.embed_tokens.weight')
    requireShape(file, copy, own.shape)
    const values = own.read()
    const isSame = copy.read().every((value, i) => value === values[i])
    if (!isSame) {
      throw unsupported(file, `tensor "${name}", which differs from the base model's own`, [
        'the numbers of the base model',
      ])
    }
    tensors.delete(name)
  }
}

type Halves = { A?: LazyTensor; B?: LazyTensor }

function groupByModule(file: string, tensors: ReadonlyMap<string, LazyTensor>): Map<string, Halves> {
  const modules = new Map<string, Halves>()
  for (const tensor of tensors.values()) {
    // Files written from a live model may carry the adapter's name, "default" unless chosen otherwise.
    const parts = /^base_model\.model\.(.+)\.lora_([AB])(?:\.default)?\.weight$/.exec(tensor.name)
    if (!parts) {
      throw unsupported(file, `tensor "${tensor.name}"`, [loraTensorName('MODULE', 'A'), loraTensorName('MODULE', 'B')])
    }
    const module = moduleName(parts[1] as string)
    const half = parts[2] as 'A' | 'B'
    const halves = modules.get(module) ?? {}
    if (halves[half]) throw corrupt(file, `has two tensors ${half} for module "${module}"`)
    halves[half] = tensor
    modules.set(module, halves)
  }
  return modules
}

/** Some writers call the output projection `unembed_tokens`. */
function moduleName(module: string): string {
  return /^(?:model\.)?(?:unembed_tokens|lm_head)$/.test(module) ? 'lm_head' : module
}

function readPair(file: string, a: LazyTensor, b: LazyTensor, [out, inputs]: readonly [number, number]): LoraPair {
  const rank = a.shape[0] ?? 0
  if (rank < 1 || rank > LARGEST_RANK) {
    throw corrupt(file, `tensor "${a.name}" has rank ${rank}; 1 to ${LARGEST_RANK} are read`)
  }
  requireShape(file, a, [rank, inputs])
  requireShape(file, b, [out, rank])
  return { rank, in: inputs, out, a: readFinite(file, a), b: readFinite(file, b) }
}

function requireShape(file: string, tensor: LazyTensor, shape: readonly number[]): void {
  if (formatShape(tensor.shape) === formatShape(shape)) return
  throw corrupt(
    file,
    `tensor "${tensor.name}" has shape ${formatShape(tensor.shape)}, the base model wants ${formatShape(shape)}`,
  )
}

/** One NaN in an adapter makes every output NaN: it is refused where it comes in. */
export function readFinite(file: string, tensor: LazyTensor): Float32Array {
  const values = tensor.read()
  const bad = values.findIndex((value) => !Number.isFinite(value))
  if (bad >= 0)
    throw corrupt(file, `tensor "${tensor.name}" holds ${values[bad]} at element ${bad}; all must be finite`)
  return values
}

/** Layer 0 stands for all layers. */
function summarise(modules: readonly string[]): string[] {
  return [...new Set(modules.map((module) => module.replace(/\.layers\.\d+\./, '.layers.N.')))]
}

function hintForPickle(folder: string): string {
  if (!fs.existsSync(path.join(folder, 'adapter_model.bin'))) return ''
  return '; adapter_model.bin is a pickle and not read: save with save_pretrained(safe_serialization=True)'
}

function configJson({ baseModel, rank, alpha, modules }: AdapterToWrite): unknown {
  const targets = [...modules.keys()].map((module) => module.slice(module.lastIndexOf('.') + 1))
  return {
    peft_type: 'LORA',
    task_type: 'CAUSAL_LM',
    base_model_name_or_path: baseModel,
    r: rank,
    lora_alpha: alpha,
    target_modules: [...new Set(targets)].sort(),
    lora_dropout: 0,
    bias: 'none',
    fan_in_fan_out: false,
    use_rslora: false,
    use_dora: false,
    rank_pattern: {},
    alpha_pattern: {},
    modules_to_save: null,
    init_lora_weights: true,
    inference_mode: true,
  }
}
