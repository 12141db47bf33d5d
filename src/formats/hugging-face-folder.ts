/**
 * A Hugging Face model folder: config.json, safetensors weights, tokenizer files.
 * Knows which files make up a folder; what is in them is known by the readers it composes.
 */
import { createHash } from 'node:crypto'
import * as fs from 'node:fs'
import * as path from 'node:path'
import { fileSize, readBytes, readJsonObject } from './file-bytes.ts'
import { corrupt, missing } from './format-error.ts'
import { parseModelConfig } from './model-config.ts'
import type { ModelFiles } from './model-folder.ts'
import { checkTensors, expectedTensors } from './model-tensors.ts'
import { openSafetensorsFolder } from './safetensors-folder.ts'

const REQUIRED = ['config.json', 'tokenizer.json', 'tokenizer_config.json'] as const
const OPTIONAL = [
  'generation_config.json',
  'chat_template.jinja',
  'chat_template.json',
  'special_tokens_map.json',
  'added_tokens.json',
] as const

export function openHuggingFaceFolder(folder: string): ModelFiles {
  const root = path.resolve(folder)
  for (const name of REQUIRED) requireFile(root, name)
  const configFile = path.join(root, 'config.json')
  const config = parseModelConfig(configFile, readJsonObject(configFile), readGenerationConfig(root))
  const { tensors, files } = openSafetensorsFolder(root)
  checkTensors(root, config, tensors)
  return {
    path: root,
    kind: 'folder',
    config,
    names: () => [...expectedTensors(config).keys()].sort(),
    tensor(name) {
      const tensor = tensors.get(name)
      if (!tensor) throw corrupt(root, `has no tensor "${name}"`)
      return tensor
    },
    contentHash: () => hashFiles([configFile, ...files]),
    tokenizerFiles: () => readTokenizerFiles(root),
  }
}

/**
 * Identity of files without reading them: device, inode, size and both times. A change of content always moves the
 * change time, which programs cannot set, so equal keys mean equal contents on one machine.
 */
export function hashFiles(files: readonly string[]): string {
  const hash = createHash('sha256')
  for (const file of files) {
    const real = fs.realpathSync(file)
    const { dev, ino, size, mtimeNs, ctimeNs } = fs.statSync(real, { bigint: true })
    hash.update(JSON.stringify([real, `${dev} ${ino} ${size} ${mtimeNs} ${ctimeNs}`]))
  }
  return hash.digest('hex')
}

function requireFile(root: string, name: string): void {
  if (fs.existsSync(path.join(root, name))) return
  const hint = name.startsWith('tokenizer')
    ? "; a folder saved with transformers' AutoTokenizer.save_pretrained has it"
    : '; is this a Hugging Face model folder?'
  throw missing(root, `has no ${name}${hint}`)
}

function readGenerationConfig(root: string): Record<string, unknown> {
  const file = path.join(root, 'generation_config.json')
  return fs.existsSync(file) ? readJsonObject(file) : {}
}

/** Small files of a model folder by name, as far as they are there; of any architecture. Throws without a tokenizer. */
export function readTokenizerFiles(folder: string): Record<string, Uint8Array> {
  const root = path.resolve(folder)
  for (const name of REQUIRED) requireFile(root, name)
  const present = [...REQUIRED, ...OPTIONAL].filter((name) => fs.existsSync(path.join(root, name)))
  return Object.fromEntries(
    present.map((name) => {
      const file = path.join(root, name)
      return [name, readBytes(file, 0, fileSize(file))]
    }),
  )
}
