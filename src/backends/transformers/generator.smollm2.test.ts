// Sampling of a real pretrained model, SmolLM2-135M-Instruct, against reference numbers (goldens/README.md): logprobs within
// 5e-4, greedy tokens equal. Runs where `node scripts/fetch-smollm2.mjs` has put the file.

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openModelSource } from '../../formats/model-folder.ts'
import { Compute } from './compute.ts'
import { Generator } from './generator.ts'
import { readGolden } from './testing/goldens.ts'
import { collect, request } from './testing/sampling-fixtures.ts'
import { mappedWeights } from './weights.ts'

const ROOT = join(import.meta.dirname, '../../..')
const FILE = join(ROOT, '.cache/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf')
const { prompts }: { prompts: Prompt[] } = readGolden('smollm2-135m.json')

interface Prompt {
  readonly tokens: number[]
  readonly prompt_logprobs: (number | null)[]
  readonly greedy_tokens: number[]
  readonly greedy_logprobs: number[]
}

describe.skipIf(!existsSync(FILE))('SmolLM2-135M-Instruct', () => {
  let generator: Generator
  beforeAll(async () => {
    const files = openModelSource(FILE)
    const weights = mappedWeights(files, join(ROOT, '.cache'))
    const compute = new Compute()
    generator = await Generator.create(files.config, weights, {
      threads: 1,
      compute,
      tokenizer: { tokenBytes: () => new Uint8Array() },
      log: () => undefined,
    })
  })
  afterAll(() => generator.close())

  it('scores and continues the reference prompts', async () => {
    const answers = await Promise.all(
      prompts.map(({ tokens, greedy_tokens }) =>
        collect(generator.add(request(tokens, { maxTokens: greedy_tokens.length, promptLogprobs: true }), null)),
      ),
    )
    for (const [i, { prompt, samples }] of answers.entries()) {
      const { prompt_logprobs, greedy_tokens, greedy_logprobs } = prompts[i] as Prompt
      for (const [position, value] of prompt_logprobs.entries()) {
        if (value !== null) expect(Math.abs((prompt?.logprobs?.[position] as number) - value)).toBeLessThan(5e-4)
      }
      expect([...(samples[0]?.tokens ?? [])]).toEqual(greedy_tokens)
      for (const [position, value] of greedy_logprobs.entries()) {
        expect(Math.abs((samples[0]?.logprobs[position] as number) - value)).toBeLessThan(5e-4)
      }
    }
  })
})
