// What a request names by `model` (and `adapter_uri`): a base model, saved weights by their path, or a run by its id. Knows names and paths,
// and who may read what through the services it asks.

import type { EngineInfo } from '../../backends/backend.ts'
import type { SampleCall } from '../calls.ts'
import { serviceError } from '../errors.ts'
import { tinkerPath as pathOf } from '../services/checkpoints.ts'
import type { ModelText } from '../services/model-texts.ts'
import type { Services } from '../services/services.ts'
import { unserved } from './fields.ts'

export interface OpenModel {
  /** As the client calls it. */
  readonly name: string
  readonly source: Pick<SampleCall, 'baseModel' | 'modelPath'>
  readonly info: EngineInfo
  readonly text: ModelText
  /** The tokens of a text of this tenant. */
  readonly encode: (text: string, addSpecialTokens: boolean) => Promise<Int32Array>
}

export type NamedModel = { readonly baseModel: string; readonly path: string | null; readonly savedAt: number | null }

type Names = Pick<Services, 'models' | 'checkpoints' | 'runs' | 'catalog'>
type Parts = Names & Pick<Services, 'texts'>

/** Throws UNKNOWN_MODEL, and for paths what reading one throws. */
export async function openModel(
  services: Parts,
  tenant: string,
  { model, adapter_uri: adapter }: { readonly model: string; readonly adapter_uri?: string | null },
): Promise<OpenModel> {
  if (adapter != null && isPath(model) && tinkerPath(model) !== tinkerPath(adapter)) {
    throw unserved('adapter_uri', adapter, 'the path that is the model, or of weights of the base model that is')
  }
  const named = await nameModel(services, tenant, model)
  const weights = adapter == null ? named : await nameModel(services, tenant, tinkerPath(adapter))
  if (weights.path === null && adapter != null) throw serviceError('INVALID_TINKER_PATH', { path: adapter })
  return {
    name: model,
    source: { baseModel: named.baseModel, ...(weights.path !== null && { modelPath: weights.path }) },
    info: services.models.get(named.baseModel).info,
    text: services.texts.of(named.baseModel),
    encode: (text, addSpecialTokens) => services.texts.encode(tenant, named.baseModel, text, addSpecialTokens),
  }
}

/**
 * Throws UNKNOWN_MODEL, INVALID_TINKER_PATH, CHECKPOINT_NOT_FOUND, RUN_NOT_SAVED and, where its base model is not served,
 * UNKNOWN_BASE_MODEL.
 */
export async function nameModel(services: Names, tenant: string, model: string): Promise<NamedModel> {
  const { models, checkpoints } = services
  if (models.has(model)) return { baseModel: model, path: null, savedAt: null }
  const path = isPath(model) ? tinkerPath(model) : await newestOf(services, tenant, model)
  const { base_model: baseModel, created_at: savedAt } = await checkpoints.find(tenant, path)
  models.get(baseModel)
  return { baseModel, path, savedAt: Number(savedAt) }
}

/** Of a training run, which is what Twinkle's clients call a full adapter id: what was saved last. */
async function newestOf({ runs, catalog, models }: Names, tenant: string, run: string): Promise<string> {
  if (!(await runs.isOf(tenant, run))) throw serviceError('UNKNOWN_MODEL', { model: run, models: models.names() })
  const [newest] = await catalog.checkpointsOf(tenant, run, ['weights', 'sampler_weights'])
  if (!newest) throw serviceError('RUN_NOT_SAVED', { run })
  return pathOf(newest)
}

const isPath = (model: string): boolean => /^(?:tinker|twinkle):\/\//.test(model)

/** Both schemes mean the same. */
const tinkerPath = (path: string): string => path.replace(/^twinkle:/, 'tinker:')
