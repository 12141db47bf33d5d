// Making adapters, and saying how they are trained: names of the catalogue, which are looked up when they are set.

import { resolveCatalogueLoss } from '../../catalogue/losses/catalogue.ts'
import { resolveOptimizer } from '../../catalogue/optimizers/optimizers.ts'
import { createProcessor } from '../../catalogue/processors/index.ts'
import { beginSchedule, resolveScheduler } from '../../catalogue/schedulers/schedulers.ts'
import type { RequestBody } from '../../generated/operations.ts'
import { serviceError } from '../errors.ts'
import { finished } from '../services/finished.ts'
import { loraRequest } from '../services/lora-request.ts'
import { bareModelName } from '../services/model-templates.ts'
import type { Services } from '../services/services.ts'
import { describeState } from '../services/twinkle-configs.ts'
import { type AdapterState, withMetric } from '../services/twinkle-state.ts'
import { seedText } from '../wire/seed.ts'
import { askedOf, keywords } from './asked.ts'
import type { TwinkleHandlers } from './handlers.ts'
import { partyOf } from './party.ts'

export function setupHandlers({ models, templates, futures, adapterStates, twinkleAdapters }: Services) {
  /** Changes the state of an adapter in its turn. */
  const set = async (call: Parameters<typeof askedOf>[0], next: (state: AdapterState) => AdapterState) => {
    await twinkleAdapters.inTurn(askedOf(call), (run) => adapterStates.change(run.id, next))
    return null
  }
  return {
    modelCreate: async ({ params }) => {
      models.get(params.base)
      return { status: 'ok' }
    },
    modelAddAdapter: async (call) => {
      const { tenant, params, body, request } = call
      const { requestId, modelId } = await twinkleAdapters.add(partyOf(call), {
        baseModel: params.base,
        name: body.adapter_name,
        lora: loraRequest(body.config),
        accumulation: accumulationOf(body),
        saveDir: body.save_dir ?? null,
        ...(body.seed != null && { seed: seedText(body.seed) }),
      })
      await finished(futures, tenant.id, requestId, request.signal)
      return { status: 'ok', adapter_name: modelId }
    },
    // The tokenizer is the base model's: another model's would give tokens that this one does not know.
    modelSetTemplate: async (call) => {
      const { template_cls: name, model_id: model } = call.body
      const { base } = call.params
      if (model != null && bareModelName(model) !== base) {
        throw serviceError('UNSUPPORTED_KEYWORD', { name: 'model_id', value: model, wanted: base })
      }
      const kwargs = keywords(call.body, 'template_cls', 'model_id')
      templates.create(base, name, kwargs)
      return set(call, (state) => ({ ...state, template: { name, kwargs } }))
    },
    modelSetProcessor: async (call) => {
      const kwargs = keywords(call.body, 'processor_cls')
      const { processor_cls: name } = call.body
      createProcessor(name, kwargs)
      return set(call, (state) => ({ ...state, processor: { name, kwargs } }))
    },
    modelSetLoss: async (call) => {
      const loss = resolveCatalogueLoss(call.body.loss_cls, keywords(call.body, 'loss_cls'))
      return set(call, (state) => ({ ...state, loss }))
    },
    modelSetOptimizer: async (call) => {
      const { optimizer_cls: name } = call.body
      const spec = resolveOptimizer(name, keywords(call.body, 'optimizer_cls'))
      return set(call, (state) => ({ ...state, optimizer: { name, spec, isFresh: true }, scheduler: null }))
    },
    modelSetLrScheduler: async (call) => {
      const { scheduler_cls: name } = call.body
      const spec = resolveScheduler(name, keywords(call.body, 'scheduler_cls'))
      return set(call, (state) => {
        if (!state.optimizer) throw serviceError('NO_OPTIMIZER')
        return { ...state, scheduler: { name, spec, at: beginSchedule(spec, state.optimizer.spec) } }
      })
    },
    modelAddMetric: async (call) => {
      const { metric_cls: name, is_training: isTraining } = call.body
      const kwargs = keywords(call.body, 'metric_cls', 'is_training')
      const kinds = isTraining == null ? BOTH : ([isTraining ? 'training' : 'evaluation'] as const)
      return set(call, (state) => withMetric(state, { name, kwargs }, kinds, Date.now()))
    },
    modelApplyPatch: async ({ params, body }) => {
      models.get(params.base)
      throw serviceError('UNKNOWN_PATCH', { name: body.patch_cls })
    },
    modelGetTrainConfigs: async (call) =>
      twinkleAdapters.inTurn(askedOf(call), async (run) => ({
        result: describeState(run, models.get(run.base_model).info, await adapterStates.read(run.id)),
      })),
    modelHeartbeat: async (call) => {
      await twinkleAdapters.inTurn(askedOf(call), async () => {})
      return { status: 'ok' }
    },
  } satisfies Partial<TwinkleHandlers>
}

const BOTH = ['training', 'evaluation'] as const

const accumulationOf = ({ gradient_accumulation_steps: steps }: RequestBody<'modelAddAdapter'>): number =>
  typeof steps === 'number' ? steps : 1
