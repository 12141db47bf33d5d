// Sampler routes: text from a base model or from saved weights, through the same samples as every other protocol's.

import { Readable } from 'node:stream'
import type { RequestBody } from '../../generated/operations.ts'
import { serviceError, toServiceError } from '../errors.ts'
import { drawStream, type Part } from '../openai/drawing.ts'
import { loraRequest } from '../services/lora-request.ts'
import type { Services } from '../services/services.ts'
import type { Party } from '../services/twinkle-owners.ts'
import { keywords } from './asked.ts'
import type { TwinkleHandlers } from './handlers.ts'
import { partyOf } from './party.ts'
import { checkSize, sampleOf } from './sampler-answers.ts'
import { askedOf, sampleCallOf } from './sampler-calls.ts'
import { featuresOf } from './sampler-inputs.ts'

type Body = RequestBody<'samplerSample'>

export function samplerHandlers(services: Services) {
  const { models, texts, held, twinkleOwners, twinkleSamplers } = services

  /** Everything that can be refused before anything is drawn. */
  const prepare = async (party: Party, base: string, body: Body) => {
    const { info } = models.get(base)
    const template = await twinkleSamplers.template(party, base)
    const asked = askedOf(body, Array.isArray(body.inputs) ? body.inputs.length : 1)
    const source = await sourceOf(party, base, body)
    const features = await featuresOf(body.inputs, template)
    checkSize(features, asked)
    await twinkleOwners.touch(party)
    return {
      info,
      template,
      asked,
      source,
      features,
      calls: features.map((one) => sampleCallOf(one, asked, source, info)),
    }
  }

  const sourceOf = async (party: Party, base: string, { adapter_uri: uri, adapter_name: name }: Body) => {
    const path = uri ?? (name ? await twinkleSamplers.weightsOf(party, base, name) : null)
    return { baseModel: base, ...(path !== null && { modelPath: path }) }
  }

  return {
    samplerCreate: async ({ params }) => {
      models.get(params.base)
      return { status: 'ok' }
    },
    samplerSetTemplate: async (call) => {
      const { params, body } = call
      models.get(params.base)
      await twinkleSamplers.setTemplate(partyOf(call), params.base, body.template_cls, keywords(body, 'template_cls'))
      return { status: 'ok' }
    },
    samplerAddAdapter: async (call) => {
      const { params, body } = call
      models.get(params.base)
      loraRequest(body.config)
      return {
        status: 'ok',
        adapter_name: await twinkleSamplers.addAdapter(partyOf(call), params.base, body.adapter_name),
      }
    },
    samplerApplyPatch: async ({ params, body }) => {
      models.get(params.base)
      throw serviceError('UNKNOWN_PATCH', { name: body.patch_cls })
    },
    samplerSample: async (call) => {
      const { tenant, params, body, request } = call
      const { template, asked, features, calls } = await prepare(partyOf(call), params.base, body)
      const { replies } = await held.begin(tenant.id, calls, request.signal)
      const all = await replies
      return {
        samples: features.map((feature, i) => sampleOf(feature, asked, all[i] as (typeof all)[number], template)),
      }
    },
    samplerSampleStream: async (call) => {
      const { tenant, params, body, request } = call
      const { info, asked, source, calls } = await prepare(partyOf(call), params.base, body)
      if (calls.length !== 1 || asked.samples !== 1) {
        throw serviceError('ONE_INPUT', { given: `${calls.length} and ${asked.samples}` })
      }
      const model = { name: params.base, source, info, text: texts.of(params.base) }
      const { parts, replies } = await drawStream({ held, tenant: tenant.id, model, calls, signal: request.signal })
      replies.catch(() => {})
      return { contentType: 'application/x-ndjson', stream: Readable.from(linesOf(parts)) }
    },
    samplerHeartbeat: async (call) => {
      models.get(call.params.base)
      await twinkleOwners.touch(partyOf(call))
      return { status: 'ok' }
    },
  } satisfies Partial<TwinkleHandlers>
}

/** What goes wrong after the first line is a line of its own: the status has been sent. */
async function* linesOf(parts: AsyncIterable<Part>): AsyncIterable<string> {
  try {
    for await (const { text, finish } of parts) {
      if (text !== '' || finish !== null) yield `${JSON.stringify({ delta: text, finish_reason: finish })}\n`
    }
  } catch (cause) {
    yield `${JSON.stringify({ error: toServiceError(cause).message })}\n`
  }
}
