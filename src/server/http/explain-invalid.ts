// Turns the errors of a generated validator into one sentence: which field, what was expected, what came instead.
// Knows ajv's error objects and nothing of operations or HTTP. Where a value may have several forms (anyOf), the form that
// matched furthest into the value is the one that was meant, and its error the one worth telling.

import type { ErrorObject } from 'ajv'

type Complaint = ErrorObject<string, Record<string, unknown>>

/**
 * One sentence, such as "lora_config.rank must be at least 1, but is 0".
 *
 * @param errors the `errors` of the validator that has just said false
 * @param data the value it was given
 * @param whole what to call the value itself: "the body", "the query"
 */
export function explainInvalid(
  errors: readonly ErrorObject[] | null | undefined,
  data: unknown,
  whole = 'the body',
): string {
  const complaints = mostTelling((errors ?? []) as readonly Complaint[], data)
  const first = complaints[0]
  if (first === undefined) return `${whole} does not have the shape that the API describes`
  const steps = stepsOf(first.instancePath)
  const value = valueAt(data, steps)
  const name = steps.length === 0 ? whole : fieldName(steps)
  const given = first.keyword === 'required' ? '' : `, but is ${describe(value)}`
  return `${name} ${expectation(complaints, value)}${given}`
}

/** The errors at the deepest place; of these, a wrong form says more than a wrong type of another form. */
function mostTelling(errors: readonly Complaint[], data: unknown): readonly Complaint[] {
  const leaves = errors.filter((error) => error.keyword !== 'anyOf')
  const depth = (error: Complaint) => stepsOf(error.instancePath).length
  const deepest = Math.max(0, ...leaves.map(depth))
  const atDepth = leaves.filter((error) => depth(error) === deepest)
  const place = atDepth[0]?.instancePath
  const here = atDepth.filter((error) => error.instancePath === place)
  const forms = here.filter((error) => error.keyword !== 'type')
  if (forms.length === 0 || valueAt(data, stepsOf(place ?? '')) === null) return here
  const [first] = forms
  return forms.filter((error) => error.keyword === first?.keyword)
}

function expectation(complaints: readonly Complaint[], value: unknown): string {
  const first = complaints[0]!
  const { params } = first
  switch (first.keyword) {
    case 'type':
      return `must be ${oneOf([...new Set(complaints.flatMap(expectedTypes))])}`
    case 'required':
      return `must have the field ${oneOf([...new Set(complaints.map((c) => `'${c.params.missingProperty}'`))])}`
    case 'enum':
    case 'const':
      return `must be ${oneOf(complaints.flatMap(allowedValues))}`
    case 'minimum':
      return `must be at least ${params.limit}`
    case 'maximum':
      return `must be at most ${params.limit}`
    case 'exclusiveMinimum':
      return `must be more than ${params.limit}`
    case 'exclusiveMaximum':
      return `must be less than ${params.limit}`
    case 'minLength':
    case 'minItems':
      return params.limit === 1 ? 'must not be empty' : `must have ${params.limit} or more ${unit(value)}`
    case 'maxLength':
    case 'maxItems':
      return `must have ${params.limit} or fewer ${unit(value)}`
    case 'pattern':
      return `must match ${params.pattern}`
    default:
      return `must satisfy ${first.keyword}`
  }
}

const unit = (value: unknown) => (typeof value === 'string' ? 'characters' : 'elements')

const typeNames: Readonly<Record<string, string>> = {
  integer: 'an integer',
  number: 'a number',
  string: 'text',
  boolean: 'true or false',
  array: 'a list',
  object: 'an object',
  null: 'null',
}

/** Null stands for an absent field everywhere: nobody needs to be told to send it. */
function expectedTypes({ params }: Complaint): string[] {
  const types = [params.type].flat() as string[]
  const without = types.filter((type) => type !== 'null')
  return without.map((type) => typeNames[type] ?? type)
}

function allowedValues({ params }: Complaint): string[] {
  const values = 'allowedValue' in params ? [params.allowedValue] : (params.allowedValues as unknown[])
  return values.filter((value) => value !== null).map((value) => JSON.stringify(value))
}

function oneOf(words: readonly string[]): string {
  return words.length < 2 ? (words[0] ?? 'null') : `${words.slice(0, -1).join(', ')} or ${words.at(-1)}`
}

function describe(value: unknown): string {
  if (value === null) return 'null'
  if (Array.isArray(value)) return `a list of ${value.length}`
  if (typeof value === 'object') return 'an object'
  if (typeof value !== 'string') return String(value)
  // The body decoder hands an integer that a number cannot hold on as text.
  if (/^-?[0-9]{16,}$/.test(value)) return `${shortened(value)}, which a number cannot hold`
  return JSON.stringify(shortened(value))
}

const shortened = (text: string) => (text.length > 40 ? `${text.slice(0, 40)}...` : text)

function stepsOf(instancePath: string): readonly string[] {
  const steps = instancePath.split('/').slice(1)
  return steps.map((step) => step.replaceAll('~1', '/').replaceAll('~0', '~'))
}

function fieldName(steps: readonly string[]): string {
  return steps.map((step, i) => (/^[0-9]+$/.test(step) ? `[${step}]` : `${i === 0 ? '' : '.'}${step}`)).join('')
}

function valueAt(data: unknown, steps: readonly string[]): unknown {
  let at = data
  for (const step of steps) at = (at as Record<string, unknown> | null | undefined)?.[step]
  return at
}
