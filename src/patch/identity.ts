// Who is calling, as Twinkle's servers want to be told. One id for each process, as Twinkle's own client has it: it names an
// owner, not a request.

/** Every generation of Twinkle's servers reads another of them. */
const IDENTITY_HEADERS = [
  'x-request-id',
  'x-ray-serve-request-id',
  'serve_multiplexed_model_id',
  'serve-multiplexed-model-id',
]

const ID = `${timestamp(new Date())}-${crypto.randomUUID().slice(0, 8)}`

/** The identity of this process, and the key in both of the headers that carry it beside the SDK's own. */
export function identityHeaders(apiKey: string): Record<string, string> {
  const bearer = `Bearer ${apiKey}`
  const identity = Object.fromEntries(IDENTITY_HEADERS.map((name) => [name, ID]))
  return { ...identity, authorization: bearer, 'twinkle-authorization': bearer }
}

/** `20261125_193000`, local time. */
function timestamp(now: Date): string {
  const two = (value: number) => String(value).padStart(2, '0')
  const day = [now.getFullYear(), now.getMonth() + 1, now.getDate()].map(two).join('')
  return `${day}_${[now.getHours(), now.getMinutes(), now.getSeconds()].map(two).join('')}`
}
