// What one tenant may use of a server, so that it cannot take what belongs to all. Numbers only: tenants.ts knows whose they
// are, the scheduler and the services hold to them.

export interface TenantLimits {
  /** Its share of an engine beside other tenants: one of weight 2 gets twice the tokens of one of weight 1. */
  readonly weight: number
  /** Tokens of training passes a minute; null = no limit, here and below. Over it work waits. */
  readonly trainingTokensPerMinute: number | null
  /** Tokens a minute of prompts and of what is drawn. Over it samples wait. */
  readonly samplingTokensPerMinute: number | null
  /** Sequences drawn at the same time. More wait. */
  readonly concurrentSamples: number | null
  /** Runs that are not unloaded. One more is refused. */
  readonly adapters: number | null
  /** Bytes of its checkpoints. A save beyond them is refused. */
  readonly storageBytes: number | null
  /** Bytes of acknowledged calls that have not ended. More are refused with 429, which clients retry. */
  readonly queuedBytes: number | null
}

export const NO_LIMITS: TenantLimits = {
  weight: 1,
  trainingTokensPerMinute: null,
  samplingTokensPerMinute: null,
  concurrentSamples: null,
  adapters: null,
  storageBytes: null,
  queuedBytes: null,
}

/** The limits of a tenant at this moment. They may change while the server runs. */
export type LimitsOf = (tenant: string) => TenantLimits
