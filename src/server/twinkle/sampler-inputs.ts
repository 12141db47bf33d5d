// What is sampled from: rows of token ids, or conversations that the owner's template makes token ids of. Either way a row
// becomes a feature, to which what is drawn is added.

import { type InputFeature, isRow, isTrajectory, type Row } from '../../catalogue/rows.ts'
import type { Template } from '../../catalogue/templates/index.ts'
import { serviceError } from '../errors.ts'

/** A row with its token ids, and whatever else it came with. */
export type Feature = Row & Pick<InputFeature, 'input_ids'>

/** Throws INVALID_SAMPLER_INPUT, and CatalogueError for a conversation that cannot be encoded. */
export async function featuresOf(inputs: unknown, template: Template): Promise<Feature[]> {
  const features: Feature[] = []
  for (const [row, input] of (Array.isArray(inputs) ? inputs : [inputs]).entries()) {
    features.push(await featureOf(input, row, template))
    // Others are served between two rows.
    await new Promise(setImmediate)
  }
  return features
}

async function featureOf(input: unknown, row: number, template: Template): Promise<Feature> {
  if (isRow(input) && Array.isArray(input.input_ids)) return checked(flat(input), row)
  if (isTrajectory(input)) return template.encodePrompt(input)
  throw serviceError('INVALID_SAMPLER_INPUT', { row, problem: 'has neither input_ids nor messages' })
}

/** Lists of one list, as tensors of one row come. */
function flat(input: Row): Row {
  if (!Array.isArray((input.input_ids as unknown[])[0])) return input
  const fields = Object.entries(input).map(([name, value]) => {
    const isNested = Array.isArray(value) && value.length === 1 && Array.isArray(value[0])
    return [name, isNested ? value[0] : value]
  })
  return Object.fromEntries(fields)
}

function checked(input: Row, row: number): Feature {
  const ids = input.input_ids as readonly unknown[]
  if (ids.length === 0) throw serviceError('INVALID_SAMPLER_INPUT', { row, problem: 'has no tokens' })
  if (!ids.every((id) => Number.isInteger(id) && (id as number) >= 0 && (id as number) < 2 ** 31)) {
    throw serviceError('INVALID_SAMPLER_INPUT', { row, problem: 'has input_ids that are no token ids' })
  }
  return input as Feature
}
