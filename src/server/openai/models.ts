// Which models there are: base models by name, saved weights by path.

import type { Schemas } from '../../generated/operations.ts'
import type { Services } from '../services/services.ts'
import type { OpenAiHandlers } from './handlers.ts'
import { nameModel } from './model.ts'

/** Who made them is not known here; this is who serves them. */
const OWNER = 'twinkle'

export function modelHandlers(services: Services) {
  // Clients want a time, and base models have none: this is since when they are served.
  const startedAt = Date.now()

  function model(id: string, baseModel: string, createdAt: number): Schemas['OpenAiModel'] {
    const { maxContext } = services.models.get(baseModel).info
    const created = Math.floor(createdAt / 1000)
    return { id, object: 'model', created, owned_by: OWNER, root: baseModel, max_model_len: maxContext }
  }

  return {
    listModels: async () => ({
      object: 'list',
      data: services.models.names().map((name) => model(name, name, startedAt)),
    }),
    retrieveModel: async ({ tenant, params }) => {
      const { baseModel, savedAt } = await nameModel(services, tenant.id, params.model)
      return model(params.model, baseModel, savedAt ?? startedAt)
    },
  } satisfies Partial<OpenAiHandlers>
}
