import { describe, expect, it } from 'vitest'
import { EngineError } from '../backends/backend.ts'
import { ENGINE_ERRORS } from '../backends/engine-errors.ts'
import { CATALOGUE_ERRORS, unknownName } from '../catalogue/catalogue-error.ts'
import { ERRORS, engineStatus, failureBody, ServiceError, serviceError, toServiceError } from './errors.ts'

describe('the catalogue', () => {
  it('never uses 409, which the SDK would retry for five minutes', () => {
    for (const [code, { status }] of Object.entries(ERRORS)) expect(status, code).not.toBe(409)
  })

  it('blames the caller only by statuses that the SDK does not retry', () => {
    for (const [code, { status, category }] of Object.entries(ERRORS)) {
      expect(category === 'server', code).toBe(status === 429 || status >= 500)
    }
  })

  it('says in every entry what to do next', () => {
    for (const [code, { message, next }] of Object.entries(ERRORS)) {
      expect(message, code).toMatch(/[.]$/)
      expect(next, code).toMatch(/[.}]$/)
    }
  })

  // After a change: npx vitest run src/server/errors.test.ts -u
  it('is what docs/reference/errors.md says', async () => {
    await expect(reference()).toMatchFileSnapshot('../../docs/reference/errors.md')
  })
})

describe('serviceError', () => {
  it('fills in the sentence and the next step', () => {
    const error = serviceError('INVALID_RANK', { rank: 0, max: 128 })
    expect(error.message).toBe('The LoRA rank 0 is not possible. Use a whole number from 1 to 128.')
    expect(error).toMatchObject({ code: 'INVALID_RANK', status: 400, category: 'user', details: { rank: 0 } })
  })

  it('lists what there is, and what was probably meant', () => {
    const error = serviceError('UNKNOWN_BASE_MODEL', { name: 'org/qwen2-tiny', models: ['tiny', 'org/qwen3-tiny'] })
    expect(error.next).toBe('Did you mean "org/qwen3-tiny"? There is: "tiny", "org/qwen3-tiny".')
  })

  it('lists a long choice in part, and says how many are left', () => {
    const models = Array.from({ length: 40 }, (_, i) => `m${i}`)
    expect(serviceError('UNKNOWN_BASE_MODEL', { name: 'other', models }).next).toMatch(/"m11" and 28 more\.$/)
    expect(serviceError('UNKNOWN_BASE_MODEL', { name: 'x', models: [] }).next).toBe('There is none.')
  })

  it('cuts what a client sent to a readable length', () => {
    const error = serviceError('UNKNOWN_BASE_MODEL', { name: 'x'.repeat(1_000_000), models: ['tiny'] })
    expect(error.message.length).toBeLessThan(400)
  })
})

describe('toServiceError', () => {
  it('keeps the words of the catalogue of names', () => {
    const error = toServiceError(unknownName('optimizer', 'Lion', ['Adam', 'SGD']))
    expect(error).toMatchObject({ code: 'UNKNOWN_NAME', status: 400, category: 'user', next: 'There are: Adam, SGD.' })
    expect(error.message).toBe('There is no optimizer "Lion". There are: Adam, SGD.')
  })

  it('keeps the words, code and category of an engine', () => {
    const failure = {
      category: 'user',
      code: 'NON_FINITE',
      message: 'the step would make adapter a non-finite',
    } as const
    const error = toServiceError(new EngineError(failure))
    expect(error).toMatchObject({ ...failure, status: 400 })
    expect(failureBody(error)).toEqual({ error: failure.message, category: 'user', code: 'NON_FINITE' })
  })

  it('offers a lost engine for another try', () => {
    const lost = new EngineError({ category: 'server', code: 'ENGINE_LOST', message: 'gone' })
    expect(toServiceError(lost).status).toBe(503)
  })

  it('tells nothing of an unforeseen error, and keeps it for the log', () => {
    const cause = new TypeError('secret /home/me/key.txt')
    const error = toServiceError(cause)
    expect(error).toMatchObject({ code: 'INTERNAL', status: 500, category: 'server', cause })
    expect(JSON.stringify({ ...failureBody(error), ...error.details })).not.toContain('secret')
    expect(toServiceError('thrown text').code).toBe('INTERNAL')
  })

  it('passes its own kind through', () => {
    const error = serviceError('MISSING_KEY')
    expect(toServiceError(error)).toBe(error)
    expect(error).toBeInstanceOf(ServiceError)
  })
})

function reference(): string {
  const words = (template: string) =>
    template
      .replace(/\{(\w+)~\w+\}/g, 'A list of the $1, the nearest one first.')
      .replace(/\{(\w+)\}/g, '*$1*')
      .replaceAll('|', '\\|')
  const own = Object.entries(ERRORS).map(
    ([code, { status, category, message, next }]) =>
      `| \`${code}\` | ${status} | ${category} | ${words(message)} | ${words(next)} |`,
  )
  const engines = Object.entries(ENGINE_ERRORS).map(
    ([code, { category, meaning }]) =>
      `| \`${code}\` | ${engineStatus({ code, category })} | ${category} | ${meaning} |`,
  )
  const names = Object.entries(CATALOGUE_ERRORS).map(([code, meaning]) => `| \`${code}\` | 400 | user | ${meaning} |`)
  return `# Errors

Every error has a stable code, an HTTP status and a category: \`user\` means that the request cannot be done as it stands,
\`server\` that it was not the caller's fault.

An HTTP error has the body \`{"detail": "...", "code": "...", "next": "...", "request_id": "..."}\`: \`detail\` is the sentence
with the next step, \`request_id\` the one in the header \`x-request-id\` and in the server's log. A request that was accepted
and fails later ends as a failed future: HTTP 200 with \`{"error": "...", "category": "user" or "server", "code": "..."}\`, the
same sentence. OpenAI's routes write \`{"error": {"message", "type", "param", "code"}}\`. 429 and 503 carry \`retry-after\`. 409 is never sent: the Tinker SDK would retry it for five minutes.

Words in *italics* are filled in.

## Of the server

| code | status | category | what it says | what to do |
| --- | --- | --- | --- | --- |
${own.join('\n')}

## Of engines

An engine says in its own words what went wrong and what would go; the codes are the same for every backend. Most of them
reach a client in a failed future.

| code | status | category | meaning |
| --- | --- | --- | --- |
${engines.join('\n')}

## Of the catalogue

What is named in a request (optimizers, schedulers, metrics, losses, ...) is looked up in [the catalogue](catalogue.md), which
says what is wrong and lists what there is.

| code | status | category | meaning |
| --- | --- | --- | --- |
${names.join('\n')}
`
}
