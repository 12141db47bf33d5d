// Services of one tenant, anna, on a state directory of their own, and the shortest calls that a run can be asked. Knows
// what tests of damage need: what is broken, they know.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import type { Backend } from '../../../backends/backend.ts'
import type { TrainingCall } from '../../calls.ts'
import { loadConfig } from '../../config.ts'
import { newDatabase, type TestDatabase } from '../../store/testing/databases.ts'
import { openServices, type Services } from '../services.ts'

const CHECKPOINT = join(import.meta.dirname, '../../../backends/transformers/goldens/llama-tied/checkpoint')
const SILENT = pino({ level: 'silent' })

export const ADAMW = {
  rule: 'adamw',
  learningRate: 0.1,
  beta1: 0.9,
  beta2: 0.95,
  epsilon: 1e-12,
  weightDecay: 0,
  clipNorm: 0,
} as const

export const savedAs = (name: string) => ({
  kind: 'weights' as const,
  name,
  overwrite: false,
  ttlSeconds: null,
  userMetadata: {},
  hasOptimizer: true,
})

/** A pass over so many datums of so many tokens. */
export function pass(modelId: string, seqId: number, count = 1, tokens = 3): TrainingCall {
  const values = Int32Array.from({ length: tokens }, (_, i) => (seqId + i) % 50)
  const datum = { tokens: values, targets: values.map((token) => token + 1), width: 1 }
  return {
    ...{ modelId, seqId, forwardOnly: false, lossName: 'cross_entropy', lossConfig: {} },
    ...{ datums: Array(count).fill(datum), matrix: Array(count).fill(false) },
  }
}

export class House {
  readonly root: string
  readonly session: string
  services: Services
  readonly #database: TestDatabase
  private constructor(root: string, database: TestDatabase, services: Services, session: string) {
    this.root = root
    this.#database = database
    this.services = services
    this.session = session
  }

  static async open(backend: Backend): Promise<House> {
    const root = mkdtempSync(join(tmpdir(), 'twinkle-house-'))
    const database = await newDatabase()
    const services = await serve(root, database, backend)
    const nothing = { tags: [], userMetadata: {}, sdkVersion: null, projectId: null, displayName: null }
    return new House(root, database, services, await services.sessions.create('anna', nothing))
  }

  /** Ends in order; `meanwhile` something happens to what is on disk; starts again. */
  async restart(backend: Backend, meanwhile: () => void): Promise<void> {
    await this.services.close()
    meanwhile()
    this.services = await serve(this.root, this.#database, backend)
  }

  async newRun(modelSeqId = 0): Promise<string> {
    const { requestId, modelId } = await this.services.training.createModel('anna', {
      ...{ sessionId: this.session, modelSeqId, baseModel: 'tiny', rank: 4, seed: '7' },
      ...{ trainAttention: true, trainMlp: true, trainUnembed: true, userMetadata: {} },
    })
    await this.end(requestId)
    return modelId
  }

  /** How an operation ended: bytes, or a failure. */
  async end(submitted: string | Promise<{ requestId: string }>) {
    const id = typeof submitted === 'string' ? submitted : (await submitted).requestId
    return this.services.futures.retrieve('anna', id, 20_000, new AbortController().signal)
  }

  async remove(): Promise<void> {
    await this.services.close()
    await this.#database.remove()
    rmSync(this.root, { recursive: true })
  }
}

async function serve(stateDir: string, { url }: TestDatabase, backend: Backend): Promise<Services> {
  const { config } = await loadConfig({ flags: { stateDir, database: url, models: [`tiny=${CHECKPOINT}`] } })
  const models = config.models.filter(({ name }) => name === 'tiny')
  return openServices({ ...config, models }, () => backend, SILENT)
}
