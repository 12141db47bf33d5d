// What owners of Twinkle's protocol have set for sampling from a base model: a template, and names of adapters. It lasts as
// long as the owner's session, across restarts. Knows rows; draws nothing.

import type { Kysely } from 'kysely'
import type { Kwargs } from '../../catalogue/arguments.ts'
import type { Template } from '../../catalogue/templates/index.ts'
import { serviceError } from '../errors.ts'
import type { Database } from '../store/schema.ts'
import { transact } from '../store/transact.ts'
import type { AdapterStates } from './adapter-states.ts'
import type { Catalog } from './catalog.ts'
import { tinkerPath } from './checkpoints.ts'
import type { ModelTemplates } from './model-templates.ts'
import type { Sessions } from './sessions.ts'
import type { Party, TwinkleOwners } from './twinkle-owners.ts'

interface SamplerState {
  readonly template: { readonly name: string; readonly kwargs: Kwargs } | null
  /** Added to the sampler: without saved weights they are as a new adapter is, which is the base model. */
  readonly adapters: readonly string[]
}

export interface TwinkleSamplerParts {
  readonly db: Kysely<Database>
  readonly sessions: Sessions
  readonly owners: TwinkleOwners
  readonly templates: ModelTemplates
  readonly states: AdapterStates
  readonly catalog: Catalog
  readonly log: (cause: unknown, id: string | null) => void
}

const NAME = /^[\w.-]{1,64}$/
const MOST_ADAPTERS = 100
const EMPTY: SamplerState = { template: null, adapters: [] }

export class TwinkleSamplers {
  readonly #parts: TwinkleSamplerParts
  constructor(parts: TwinkleSamplerParts) {
    this.#parts = parts
    parts.sessions.onEnd((session) => void this.#forget(session).catch((cause) => parts.log(cause, null)))
  }

  /** Throws CatalogueError for a template that there is not, or that does not fit the model. */
  async setTemplate(party: Party, baseModel: string, name: string, kwargs: Kwargs): Promise<void> {
    this.#parts.templates.create(baseModel, name, kwargs)
    await this.#change(party, baseModel, (state) => ({ ...state, template: { name, kwargs } }))
  }

  /** Gives the full id. Throws INVALID_ADAPTER_NAME. */
  async addAdapter(party: Party, baseModel: string, name: string): Promise<string> {
    if (!NAME.test(name)) throw serviceError('INVALID_ADAPTER_NAME', { name })
    await this.#change(party, baseModel, (state) => ({
      ...state,
      adapters: [...state.adapters.filter((other) => other !== name), name].slice(-MOST_ADAPTERS),
    }))
    return `${party.owner}-${name}`
  }

  /** The owner's, or the one that fits the model. */
  async template(party: Party, baseModel: string): Promise<Template> {
    const { template } = await this.#read(party, baseModel)
    const { templates } = this.#parts
    return template ? templates.create(baseModel, template.name, template.kwargs) : templates.standard(baseModel)
  }

  /**
   * The newest saved weights of an adapter of this name, of either kind; null for one that was only added here. Throws
   * NOT_SAVED for an adapter in training, UNKNOWN_ADAPTER for a name that nobody has used.
   */
  async weightsOf(party: Party, baseModel: string, name: string): Promise<string | null> {
    const { states, catalog } = this.#parts
    const run = await states.findIfAny(party, name)
    const newest = run && (await catalog.checkpointsOf(party.tenant, run, ['weights', 'sampler_weights']))[0]
    if (newest) return tinkerPath(newest)
    if ((await this.#read(party, baseModel)).adapters.includes(name)) return null
    if (run) throw serviceError('NOT_SAVED', { name })
    await states.find(party, name)
    return null
  }

  async #read(
    { tenant, owner }: Party,
    baseModel: string,
    db: Kysely<Database> = this.#parts.db,
  ): Promise<SamplerState> {
    const row = await db
      .selectFrom('twinkle_samplers')
      .select('state')
      .where('tenant', '=', tenant)
      .where('owner', '=', owner)
      .where('base_model', '=', baseModel)
      .executeTakeFirst()
    return row ? JSON.parse(row.state) : EMPTY
  }

  async #change(party: Party, baseModel: string, next: (state: SamplerState) => SamplerState): Promise<void> {
    const session = await this.#parts.owners.session(party)
    const { tenant, owner } = party
    await transact(this.#parts.db, async (trx) => {
      const state = JSON.stringify(next(await this.#read(party, baseModel, trx)))
      await trx
        .insertInto('twinkle_samplers')
        .values({ tenant, owner, base_model: baseModel, session, state })
        .onConflict((conflict) => conflict.columns(['tenant', 'owner', 'base_model']).doUpdateSet({ session, state }))
        .execute()
    })
  }

  async #forget(session: string): Promise<void> {
    await this.#parts.db.deleteFrom('twinkle_samplers').where('session', '=', session).execute()
  }
}
