// A body that was refused before its handler saw it was still a request with a number. Where model and number can be read,
// the number counts as used: the SDK never sends it again, and later ones must not wait for it.

import { isFinal } from '../errors.ts'
import type { Refusal } from '../http/router.ts'
import type { Services } from '../services/services.ts'
import { type Peeked, peekTraining } from '../wire/training.ts'

/** Does `work`; when it is refused for good, the number of the request counts as used. */
export async function numbered<T>(
  { training }: Services,
  tenant: string,
  peeked: () => Peeked,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work()
  } catch (cause) {
    const { modelId, seqId } = peeked()
    if (isFinal(cause) && modelId !== undefined && seqId !== undefined) await training.refuse(tenant, modelId, seqId)
    throw cause
  }
}

export function refusedNumbers({ training }: Services): (refusal: Refusal) => Promise<void> {
  return async ({ tenant, body }) => {
    const { modelId, seqId } = peek(body)
    if (tenant && modelId !== undefined && seqId !== undefined) await training.refuse(tenant.id, modelId, seqId)
  }
}

/** Model and number of a request in whatever form it was read. */
export function peek(body: unknown): Peeked {
  if (body instanceof Uint8Array) return { ...peekText(body), ...peekTraining(body) }
  if (typeof body !== 'object' || body === null) return {}
  const { model_id, seq_id } = body as Record<string, unknown>
  return {
    ...(typeof model_id === 'string' && { modelId: model_id }),
    ...(typeof seq_id === 'number' && { seqId: seq_id }),
  }
}

/** JSON that cannot be parsed, or only the beginning of one. */
function peekText(bytes: Uint8Array): Peeked {
  const text = new TextDecoder().decode(bytes)
  const model = /"model_id"\s*:\s*"([^"\\]+)"/.exec(text)?.[1]
  const seq = /"seq_id"\s*:\s*(\d{1,15})/.exec(text)?.[1]
  return { ...(model !== undefined && { modelId: model }), ...(seq !== undefined && { seqId: Number(seq) }) }
}
