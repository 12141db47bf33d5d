// The services of Twinkle's protocol, put together from those that every protocol uses.

import type { Kysely } from 'kysely'
import type { Database } from '../store/schema.ts'
import type { Sessions } from './sessions.ts'
import { type TwinkleAdapterParts, TwinkleAdapters } from './twinkle-adapters.ts'
import { TwinkleOwners } from './twinkle-owners.ts'
import { TwinklePasses, type TwinklePassParts } from './twinkle-passes.ts'
import { type TwinkleSamplerParts, TwinkleSamplers } from './twinkle-samplers.ts'
import { type TwinkleSaveParts, TwinkleSaves } from './twinkle-saves.ts'
import { TwinkleUpdates } from './twinkle-updates.ts'

export interface TwinkleServices {
  readonly twinkleOwners: TwinkleOwners
  readonly twinkleAdapters: TwinkleAdapters
  readonly twinklePasses: TwinklePasses
  readonly twinkleUpdates: TwinkleUpdates
  readonly twinkleSaves: TwinkleSaves
  readonly twinkleSamplers: TwinkleSamplers
}

type Parts = Omit<
  TwinkleAdapterParts & TwinklePassParts & TwinkleSaveParts & TwinkleSamplerParts,
  'owners' | 'adapters'
> & {
  readonly db: Kysely<Database>
  readonly sessions: Sessions
}

export function twinkleServices(parts: Parts): TwinkleServices {
  const owners = new TwinkleOwners(parts.db, parts.sessions)
  const adapters = new TwinkleAdapters({ ...parts, owners })
  return {
    twinkleOwners: owners,
    twinkleAdapters: adapters,
    twinklePasses: new TwinklePasses({ ...parts, adapters }),
    twinkleUpdates: new TwinkleUpdates({ ...parts, adapters }),
    twinkleSaves: new TwinkleSaves({ ...parts, adapters }),
    twinkleSamplers: new TwinkleSamplers({ ...parts, owners }),
  }
}
