// A JSON body that does not fit the document was still a request with a number: where model and number can be read, the
// number counts as used, as the SDK will not send it again.

import type { RouterParts } from '../http/router.ts'
import type { Services } from '../services/services.ts'

export function refusedNumbers({ training }: Services): NonNullable<RouterParts['onRefused']> {
  return async ({ tenant, body }) => {
    if (!tenant || typeof body !== 'object' || body === null) return
    const { model_id, seq_id } = body as Record<string, unknown>
    if (typeof model_id === 'string' && typeof seq_id === 'number') await training.refuse(tenant.id, model_id, seq_id)
  }
}
