// What a request is signed with: an API key, or, where the server asks for it, a short-lived token that the key is exchanged
// for and that is renewed in good time. Claims of a token are read without checking its signature: it came from the server.

import { AuthenticationError, TinkerError } from './errors.ts'

/** Gives the value of X-API-Key. */
export interface Credential {
  token(): Promise<string>
  /** Another one, after the server refused this one as invalid; absent where there is no other. */
  replace?(rejected: string): Promise<string>
}

/** The prefix that the server's keys have, or that of a token. Throws TinkerError, the key itself not in the message. */
export function checkApiKey(apiKey: string): void {
  if (!apiKey.startsWith('tml-') && !apiKey.startsWith('eyJ')) {
    throw new TinkerError(
      'The API key must start with tml- (or eyJ, for a token). Next: copy the whole key; a local server without keys takes any, such as tml-local.',
    )
  }
  if (apiKey.startsWith('eyJ') && secondsLeft(apiKey) <= 0) {
    throw new TinkerError('The token given as API key has expired. Next: get a new one, or pass an API key (tml-...).')
  }
}

export class ApiKey implements Credential {
  readonly #key: string

  constructor(key: string) {
    checkApiKey(key)
    this.#key = key
  }

  token(): Promise<string> {
    return Promise.resolve(this.#key)
  }
}

const RENEW_WHEN_LEFT_S = 60

/** A token for the key, exchanged when first needed, at half of its life, and when the server refuses it. */
export class ExchangedToken implements Credential {
  readonly #exchange: () => Promise<string>
  #token = ''
  #renewAt = 0
  #renewal: Promise<string> | undefined

  constructor(exchange: () => Promise<string>) {
    this.#exchange = exchange
  }

  async token(): Promise<string> {
    const isLive = this.#token !== '' && secondsLeft(this.#token) > 0
    if (isLive && secondsLeft(this.#token) > RENEW_WHEN_LEFT_S && Date.now() < this.#renewAt) return this.#token
    try {
      return await this.#renew()
    } catch (error) {
      // What still holds is used to its end; a key that the server refuses is reported at once.
      if (!isLive || error instanceof AuthenticationError) throw error
      return this.#token
    }
  }

  /** Many requests may learn of one refusal: they share one exchange. */
  replace(rejected: string): Promise<string> {
    return this.#token !== rejected && this.#token !== '' ? Promise.resolve(this.#token) : this.#renew()
  }

  #renew(): Promise<string> {
    this.#renewal ??= this.#exchange()
      .then((token) => {
        this.#token = token
        this.#renewAt = Date.now() + lifetimeMs(token) * (0.45 + Math.random() / 10)
        return token
      })
      .finally(() => {
        this.#renewal = undefined
      })
    return this.#renewal
  }
}

export interface Claims {
  readonly sub?: unknown
  readonly org_id?: unknown
  readonly email?: unknown
  readonly iss?: unknown
  readonly exp?: unknown
  readonly iat?: unknown
}

/** Throws TinkerError for text that is no token. */
export function claimsOf(token: string): Claims {
  try {
    const payload = token.split('.')[1]!.replaceAll('-', '+').replaceAll('_', '/')
    const bytes = Uint8Array.from(atob(payload), (char) => char.charCodeAt(0))
    return JSON.parse(new TextDecoder().decode(bytes)) as Claims
  } catch (cause) {
    throw new TinkerError('The token cannot be read: it is not a JWT.', { cause })
  }
}

function secondsLeft(token: string): number {
  return Number(claimsOf(token).exp ?? 0) - Date.now() / 1000
}

/** Both ends are the server's clock, so that a wrong one here does not matter. */
function lifetimeMs(token: string): number {
  const { exp, iat } = claimsOf(token)
  const lifetime = (Number(exp) - Number(iat)) * 1000
  return lifetime > 0 ? lifetime : 120_000
}
