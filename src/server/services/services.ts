// Puts the services of one server together over its state directory, and takes them apart in order. No HTTP here.

import { mkdirSync } from 'node:fs'
import { totalmem } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import type { Kysely } from 'kysely'
import type { Logger } from 'pino'
import { checkReach, type ServerConfig } from '../config.ts'
import { toServiceError } from '../errors.ts'
import { Compaction } from '../store/compaction.ts'
import { openDatabase } from '../store/database.ts'
import { Journal } from '../store/journal.ts'
import { openPostgresSignals } from '../store/postgres-signals.ts'
import type { Database } from '../store/schema.ts'
import { ALONE } from '../store/signals.ts'
import { lockStateDir } from '../store/state-lock.ts'
import { AdapterFolders } from './adapter-folders.ts'
import { AdapterStates } from './adapter-states.ts'
import { AdapterTasks } from './adapter-tasks.ts'
import { Audit } from './audit.ts'
import { type BackendOf, BaseModels } from './base-models.ts'
import { Capacity } from './capacity.ts'
import { Catalog } from './catalog.ts'
import { Checkpoints } from './checkpoints.ts'
import { DataSources } from './data-sources.ts'
import { Downloads } from './downloads.ts'
import { Draws } from './draws.ts'
import { EngineHosts } from './engine-hosts.ts'
import { EngineLeases } from './engine-leases.ts'
import { Survival } from './engine-loss.ts'
import { EngineShare, type EngineShareParts } from './engine-share.ts'
import { OwnEngines } from './engines.ts'
import { Futures } from './futures.ts'
import { HeldSamples } from './held-samples.ts'
import { Housekeeping } from './housekeeping.ts'
import { Inquiries } from './inquiries.ts'
import { Intake } from './intake.ts'
import { Keyring } from './keyring.ts'
import { Keys } from './keys.ts'
import { LiveAdapters } from './live-adapters.ts'
import { ModelTemplates } from './model-templates.ts'
import { ModelTexts } from './model-texts.ts'
import { Onlookers } from './onlookers.ts'
import { Patience } from './patience.ts'
import { ProcessorRecipes } from './processor-recipes.ts'
import { PROCESSOR_LIMIT, Processors } from './processors.ts'
import { Queue } from './queue.ts'
import { Quotas } from './quotas.ts'
import { RestartPoints } from './restart-points.ts'
import { Retention } from './retention.ts'
import { RunLanes } from './run-lanes.ts'
import { Runs } from './runs.ts'
import { SampleEvents } from './sample-events.ts'
import { Sampling } from './sampling.ts'
import { SessionCatalog } from './session-catalog.ts'
import { Sessions } from './sessions.ts'
import { addressSecret, SignedAddresses } from './signed-addresses.ts'
import { readStorageMeter } from './storage-meter.ts'
import { Tenants } from './tenants.ts'
import { Tokens } from './tokens.ts'
import { Traces } from './traces.ts'
import { Training } from './training.ts'
import { type TwinkleServices, twinkleServices } from './twinkle.ts'
import { Ledger } from './usage.ts'
import { WeightCopies } from './weight-copies.ts'
import { WeightsAccess } from './weights-access.ts'

/** What the data sets of one tenant may take of the server's memory. */
const PROCESSOR_BYTES = 256 * 2 ** 20
/** Longer than this a supervisor would not wait either. */
const DRAIN_LIMIT_MS = 60_000

export interface Services extends TwinkleServices {
  readonly tenants: Tenants
  readonly keys: Keys
  readonly tokens: Tokens
  readonly models: BaseModels
  readonly sessions: Sessions
  readonly sessionCatalog: SessionCatalog
  readonly runs: Runs
  readonly checkpoints: Checkpoints
  readonly catalog: Catalog
  readonly capacity: Capacity
  readonly adapterStates: AdapterStates
  readonly audit: Audit
  readonly ledger: Ledger
  readonly retention: Retention
  readonly downloads: Downloads
  readonly addresses: SignedAddresses
  readonly traces: Traces
  readonly weightCopies: WeightCopies
  readonly weightsAccess: WeightsAccess
  readonly adapterFolders: AdapterFolders
  readonly training: Training
  readonly sampling: Sampling
  /** Samples for those who wait on an open connection. */
  readonly held: HeldSamples
  /** Tokenizers and chat templates. */
  readonly texts: ModelTexts
  /** Conversations to tokens, by the names of Twinkle's catalogue. */
  readonly templates: ModelTemplates
  /** Data sets, loaders and the like, made and called by name. */
  readonly processors: Processors
  readonly lanes: RunLanes
  readonly draws: Draws
  /** What waits here and why. */
  readonly queue: Queue
  /** The same of one operation, wherever it waits. */
  readonly inquiries: Inquiries
  /** For those who look on while the others work (observing/). */
  readonly onlookers: Onlookers
  readonly journal: Journal
  readonly db: Kysely<Database>
  readonly sampleEvents: SampleEvents
  readonly futures: Futures
  /** How long a request may wait for its future. */
  readonly holdMs: number
  readonly log: Logger
  /** Lets what was acknowledged and is ready be done, then closes engines and database. */
  close(): Promise<void>
}

export async function openServices(config: ServerConfig, backendOf: BackendOf, log: Logger): Promise<Services> {
  const { stateDir } = config
  mkdirSync(stateDir, { recursive: true })
  const isShared = config.database !== 'sqlite'
  // Servers on one PostgreSQL database may share the folder too.
  const lock = isShared ? null : await lockStateDir(stateDir)
  const broken = (what: string) => (err: unknown) => log.warn({ err }, `a connection to the database broke: ${what}`)
  const db = await openDatabase(config, broken('of requests')).catch((cause) => {
    lock?.release()
    throw cause
  })
  const signals = isShared ? await openPostgresSignals(config.database, broken('of signals')) : ALONE
  const journal = new Journal(db, stateDir, signals)
  const runs = new Runs(db)

  const logFailure = (cause: unknown, id: string | null) => {
    const { cause: inner } = toServiceError(cause)
    log.error({ err: inner ?? cause, future: id }, 'an operation failed')
  }
  const secret = addressSecret(stateDir)
  const tokens = new Tokens(secret)
  const keyring = new Keyring(db, (cause) => logFailure(cause, null))
  const tenants = new Tenants(config.keys, config.limits, keyring, tokens)
  const models = new BaseModels(backendOf, {
    cacheDir: join(stateDir, 'cache'),
    threads: config.threads,
    log: (line) => log.info(line),
  })
  try {
    await keyring.refresh()
    checkReach(config, tenants.isOpen)
    models.load(config.models)
  } catch (cause) {
    await signals.close()
    await db.destroy()
    lock?.release()
    throw cause
  }
  const patience = new Patience(logFailure)
  const futures = new Futures(journal, signals, patience, logFailure)
  const sessions = new Sessions(db, signals, config.sessionTimeoutSeconds * 1000, (cause) => logFailure(cause, null))
  const checkpoints = new Checkpoints(db, stateDir)
  const addresses = new SignedAddresses(secret)
  const retention = new Retention(db, checkpoints, (cause) => logFailure(cause, null), isShared)
  await retention.start()
  const limitsOf = (tenant: string) => tenants.limitsOf(tenant)
  const quotas = new Quotas(db, limitsOf)
  const intake = new Intake({ journal, futures, signals, limitsOf })
  await intake.restore()
  const base = { db, signals, patience, journal, futures, sessions, runs, log: logFailure }
  const parts = { ...base, quotas, intake, models, checkpoints }
  const survival = new Survival(models)
  const restartPoints = new RestartPoints(runs, checkpoints)
  const room = { adapters: config.liveAdapters, bytes: config.adapterMemory }
  const adapters = new LiveAdapters({ ...parts, restartPoints, room, log: (line) => log.info(line) })
  const onlookers = new Onlookers()
  const states = new AdapterStates(db)
  const lanes = new RunLanes({ ...parts, states, survival, adapters, restartPoints, limitsOf, onlookers })
  const draws = new Draws({ ...parts, survival, limitsOf, onlookers })
  tenants.onLimits(() => {
    lanes.reconsider()
    draws.reconsider()
  })
  const queue = new Queue([lanes, draws])
  const training = new Training({ ...parts, lanes })
  const sampling = new Sampling({ ...parts, draws })
  const held = new HeldSamples(sampling, futures, logFailure)
  const tasks = new AdapterTasks()
  const adapterFolders = new AdapterFolders({ db, stateDir, models, checkpoints, addresses, tasks, quotas })
  await adapterFolders.tidy()
  const catalog = new Catalog(db)
  const texts = new ModelTexts(models)
  const templates = new ModelTemplates(texts)
  const twinkle = twinkleServices({ ...parts, states, training, lanes, held, templates, retention, catalog })
  const processors = new Processors({
    recipes: new ProcessorRecipes(db, stateDir),
    owners: twinkle.twinkleOwners,
    templates,
    sources: new DataSources(config.dataDir, stateDir, quotas),
    memory: { tenantBytes: PROCESSOR_BYTES, bytes: Math.max(PROCESSOR_BYTES, totalmem() / 4) },
    limit: PROCESSOR_LIMIT,
    isShared,
    log: (cause) => logFailure(cause, null),
  })
  await processors.start()
  const housekeeping = new Housekeeping(
    new Compaction(db, stateDir, isShared, config.keep),
    config.keep.tidyEvery,
    () => readStorageMeter(db),
    (cause) => logFailure(cause, null),
  )
  await housekeeping.start()
  const hosts = new EngineHosts({ ...parts, lanes, draws, sampling })
  const engines = isShared ? shareEngines(config, { db, signals, models, hosts, log }) : new OwnEngines(models, hosts)
  const close = async () => {
    await texts.close()
    await sessions.close()
    await processors.close()
    await retention.close()
    await housekeeping.close()
    adapterFolders.close()
    await tasks.close()
    engines.stop()
    await hosts.stopHearing()
    models.stopReopening()
    const drained = Promise.all([lanes.drain(), draws.drain()])
    const limit = setTimeout(DRAIN_LIMIT_MS, 'limit', { ref: false })
    if ((await Promise.race([drained, limit])) === 'limit')
      log.warn('the rest of the acknowledged work waits for the next start')
    lanes.stop()
    draws.stop()
    patience.end()
    await models.close()
    await engines.release()
    await journal.writeDelivered().catch((cause) => logFailure(cause, null))
    await signals.close()
    await db.destroy()
    lock?.release()
  }
  await engines.start().catch(async (cause) => {
    await close()
    throw cause
  })
  return {
    tenants,
    keys: new Keys(db),
    tokens,
    models,
    sessions,
    sessionCatalog: new SessionCatalog(db),
    runs,
    checkpoints,
    catalog,
    capacity: new Capacity({ db, limitsOf, liveAdapters: config.liveAdapters * config.models.length }),
    templates,
    processors,
    adapterStates: states,
    ...twinkle,
    audit: new Audit(db),
    ledger: new Ledger(db),
    retention,
    downloads: new Downloads(db, checkpoints, addresses),
    adapterFolders,
    addresses,
    traces: new Traces(db),
    weightsAccess: new WeightsAccess(secret, { db, checkpoints, tenants }),
    weightCopies: new WeightCopies(db, checkpoints, sessions, quotas),
    training,
    sampling,
    held,
    texts,
    lanes,
    draws,
    queue,
    inquiries: new Inquiries({ ...parts, queue }),
    onlookers,
    journal,
    db,
    sampleEvents: new SampleEvents(db, futures, sessions, signals),
    futures,
    holdMs: config.holdSeconds * 1000,
    log,
    close,
  }
}

type ShareParts = Pick<EngineShareParts, 'signals' | 'models' | 'hosts' | 'log'> & { readonly db: Kysely<Database> }

function shareEngines({ engines, leaseSeconds }: ServerConfig, { db, ...parts }: ShareParts): EngineShare {
  const leaseMs = leaseSeconds * 1000
  const mayHost = (name: string) => engines === 'all' || engines.includes(name)
  return new EngineShare({ ...parts, leases: new EngineLeases(db, parts.signals, leaseMs), mayHost, leaseMs })
}
