import { describe, expect, it } from 'vitest'
import { bodyValidators, queryValidators } from '../../generated/validators.ts'
import { explainInvalid } from './explain-invalid.ts'

function sentence(operation: keyof typeof bodyValidators, body: unknown): string {
  const validate = bodyValidators[operation]!
  expect(validate(body)).toBe(false)
  return explainInvalid(validate.errors, body)
}

const model = { session_id: 's', model_seq_id: 0, base_model: 'org/tiny' }

describe('explainInvalid', () => {
  it('names a body of the wrong type', () => {
    expect(sentence('createSession', [1, 2])).toBe('the body must be an object, but is a list of 2')
    expect(sentence('getInfo', null)).toBe('the body must be an object, but is null')
  })

  it('names a missing field', () => {
    expect(sentence('getInfo', {})).toBe("the body must have the field 'model_id'")
  })

  it('looks through the null that an optional object may be', () => {
    expect(sentence('createModel', { ...model, lora_config: { rank: 0 } })).toBe(
      'lora_config.rank must be at least 1, but is 0',
    )
    expect(sentence('createModel', { ...model, lora_config: {} })).toBe("lora_config must have the field 'rank'")
    expect(sentence('createModel', { ...model, lora_config: 8 })).toBe('lora_config must be an object, but is 8')
  })

  it('explains the form of a chunk that was meant', () => {
    const prompt = (chunk: unknown) => ({ prompt: { chunks: [chunk] }, sampling_params: {} })
    expect(sentence('asample', prompt({ tokens: [1, 'x'] }))).toBe(
      'prompt.chunks[0].tokens[1] must be an integer, but is "x"',
    )
    expect(sentence('asample', prompt({}))).toBe(
      "prompt.chunks[0] must have the field 'tokens', 'data', 'location' or 'dmel'",
    )
    expect(sentence('asample', prompt({ data: '', format: 'gif' }))).toBe(
      'prompt.chunks[0].format must be "png" or "jpeg", but is "gif"',
    )
  })

  it('lists every type a field may have', () => {
    const body = { prompt: { chunks: [] }, sampling_params: { stop: 5 } }
    expect(sentence('asample', body)).toBe('sampling_params.stop must be text or a list, but is 5')
  })

  it('says when an integer is too large for a number', () => {
    const body = { prompt: { chunks: [{ tokens: ['1152921504606846976'] }] }, sampling_params: {} }
    expect(sentence('asample', body)).toBe(
      'prompt.chunks[0].tokens[0] must be an integer, but is 1152921504606846976, which a number cannot hold',
    )
  })

  it('names a query parameter', () => {
    const query = { limit: 'many' }
    const validate = queryValidators.listTrainingRuns!
    expect(validate(query)).toBe(false)
    expect(explainInvalid(validate.errors, query, 'the query')).toBe('limit must be an integer, but is "many"')
  })
})
