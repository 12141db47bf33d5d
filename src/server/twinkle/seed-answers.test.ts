// The older form of answers, as twinkle-kit 0.0.1 reads them.

import { describe, expect, it } from 'vitest'
import { seedAnswer } from './seed-answers.ts'

describe('clients of the first generation get', () => {
  it('an object for nothing', () => {
    expect(seedAnswer('modelStep', null)).toEqual({ result: null })
  })

  it('a path for what was saved', () => {
    const saved = { twinkle_path: 'twinkle://r/weights/a', checkpoint_dir: 'x' }
    expect(seedAnswer('modelSave', saved)).toEqual({ result: 'twinkle://r/weights/a', checkpoint_dir: 'x' })
  })

  it('one sample for all inputs', () => {
    const of = (sequences: number[], prompt_logprobs: unknown) => ({ sequences, prompt_logprobs })
    const answer = { samples: [of([1, 2], [null, -1]), of([3], [null])] }
    expect(seedAnswer('samplerSample', answer)).toEqual({ sequences: [1, 2, 3], prompt_logprobs: [null, -1] })
  })

  it('everything else as it is', () => {
    expect(seedAnswer('modelForward', { result: 1 })).toEqual({ result: 1 })
  })
})
