import { describe, expect, it } from 'vitest'
import type { EngineError, GenerationRequest } from '../backend.ts'
import { checkGeneration } from './generation-check.ts'
import { request } from './testing/sampling-fixtures.ts'

const LIMITS = { vocabulary: 100, maxContext: 32, maxTopK: 20 }

const check = (changes: Partial<GenerationRequest>, prompt: readonly number[] = [1, 2, 3]) =>
  checkGeneration(request(prompt, changes), LIMITS)

const targets = (starts: number[], ids: number[]) => ({ starts: Int32Array.from(starts), ids: Int32Array.from(ids) })

function refusal(changes: Partial<GenerationRequest>, prompt?: readonly number[]): string {
  try {
    check(changes, prompt)
  } catch (error) {
    const { category, code, message } = error as EngineError
    expect({ category, code }).toEqual({ category: 'user', code: 'INVALID_INPUT' })
    return message
  }
  throw new Error('the request was accepted')
}

describe('checkGeneration', () => {
  it('accepts what the model can do, to the limits', () => {
    check({})
    check({ maxTokens: 29, seed: '18446744073709551615', topP: 1e-9, temperature: 1e-9, topK: 10 ** 9 })
    check({ samples: 0, maxTokens: 0, seed: '' }, Array(32).fill(99))
    check({ promptDraws: 128, scorePromptFrom: 2, promptTargets: targets([0, 1, 3], [0, 99, 99]) })
    check({ stopTokens: [0, 99], stopStrings: ['x'], topkSampleLogprobs: 20, topkPromptLogprobs: 20 })
  })

  it.each<[Partial<GenerationRequest>, readonly number[] | undefined, RegExp]>([
    [{}, [], /prompt is empty/],
    [{}, [1, 100], /token 100 at position 1 of the prompt is outside the vocabulary, 0 to 99/],
    [{}, [-1], /token -1 at position 0/],
    [{ samples: 0 }, Array(33).fill(1), /prompt has 33 tokens, the context of this model is 32/],
    [{ maxTokens: 30 }, undefined, /3 tokens and maxTokens 30 exceed the context of 32; at most 29/],
    [{ maxTokens: 0 }, undefined, /maxTokens is 0; .* at least 1/],
    [{ maxTokens: 1.5 }, undefined, /maxTokens is 1.5; it must be a whole number/],
    [{ samples: -1 }, undefined, /samples is -1; .* from 0 to/],
    [{ temperature: -0.1 }, undefined, /temperature is -0.1/],
    [{ temperature: Number.NaN }, undefined, /temperature is NaN/],
    [{ temperature: Infinity }, undefined, /temperature is Infinity/],
    [{ topK: -1 }, undefined, /topK is -1; .*0 for the whole vocabulary of 100/],
    [{ topP: 0 }, undefined, /topP is 0; it must be above 0 and at most 1/],
    [{ topP: 1.1 }, undefined, /topP is 1.1/],
    [{ seed: '-1' }, undefined, /seed is "-1"/],
    [{ seed: '18446744073709551616' }, undefined, /seed is "18446744073709551616".* 2\^64 - 1/],
    [{ stopTokens: [100] }, undefined, /stop token 100 is outside the vocabulary/],
    [{ stopStrings: ['a', ''] }, undefined, /stop string is empty/],
    [{ stopTokens: Array(1025).fill(1) }, undefined, /1025 stop tokens .* at most 1024/],
    [{ topkPromptLogprobs: 21 }, undefined, /topkPromptLogprobs is 21; .* from 0 to 20/],
    [{ topkSampleLogprobs: 21 }, undefined, /topkSampleLogprobs is 21; .* from 0 to 20/],
    [{ promptDraws: 129 }, undefined, /promptDraws is 129; .* from 0 to 128/],
    [{ samples: 0, promptDraws: 1, seed: 'x' }, undefined, /seed is "x"/],
    [{ scorePromptFrom: 0 }, undefined, /scorePromptFrom is 0; .* from 1 to 2/],
    [{ scorePromptFrom: 3 }, undefined, /scorePromptFrom is 3/],
    [{ promptTargets: targets([0, 1], [5]) }, undefined, /2 starts for 1 tokens; a prompt of 3 needs 3/],
    [{ promptTargets: targets([0, 1, 3], [5]) }, undefined, /3 starts for 1 tokens/],
    [{ promptTargets: targets([0, 2, 1], [5]) }, undefined, /falling starts at position 2/],
    [{ promptTargets: targets([0, 1, 1], [100]) }, undefined, /token 100 of promptTargets is outside/],
    [
      { promptTargets: targets([0, 0, 1025], Array(1025).fill(1)) },
      undefined,
      /1025 tokens at position 2; at most 1024/,
    ],
  ])('refuses %o', (changes, prompt, sentence) => {
    expect(refusal(changes, prompt)).toMatch(sentence)
  })
})
