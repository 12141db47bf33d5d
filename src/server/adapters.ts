// The routes for adapters in and out, beside the Tinker protocol: import, merge, and the files of what was merged.

import type { RoutedOperationId } from '../generated/operations.ts'
import { sendDownload } from './downloads.ts'
import { originOf } from './http/origin.ts'
import type { Handlers } from './http/router.ts'
import type { AdapterFolders } from './services/adapter-folders.ts'

export function adapterHandlers(adapters: AdapterFolders): Handlers<RoutedOperationId<'adapters'>> {
  return {
    importAdapter: async ({ tenant, query, body, request }) => {
      const call = { baseModel: query.base_model, name: query.name, ttlSeconds: query.ttl_seconds ?? null }
      const { path, shape, bytes } = await adapters.import(tenant.id, call, body, request.signal)
      return {
        path,
        base_model: shape.base_model,
        rank: shape.rank,
        alpha: shape.alpha,
        train_attn: shape.train_attention === 1,
        train_mlp: shape.train_mlp === 1,
        train_unembed: shape.train_unembed === 1,
        bytes,
      }
    },
    mergeAdapter: async ({ tenant, body, request }) => {
      const merged = await adapters.merge(tenant.id, body.path, body.dtype ?? null, request.signal)
      const origin = originOf(request.headers)
      return {
        files: merged.map(({ name, bytes, sha256, address }) => ({
          name,
          bytes,
          sha256,
          url: `${origin}${address.path}`,
        })),
        expires: Math.floor(Math.min(...merged.map(({ address }) => address.expires)) / 1000),
      }
    },
    downloadMerged: async ({ params, query, request }) =>
      sendDownload(await adapters.open(params.id, params.file, query), params.file, request),
  }
}
