// Training by Twinkle's protocol, one blocking call after the other: each becomes operations of the same kind, order and
// durability as Tinker's, and answers when they are done. What is due when, twinkle-state.ts says; saving and loading is
// twinkle-saves.ts's.

import type { OptimSettings } from '../../backends/backend.ts'
import type { Kwargs } from '../../catalogue/arguments.ts'
import type { SampleCall, TrainingReply } from '../calls.ts'
import { serviceError } from '../errors.ts'
import type { Journal } from '../store/journal.ts'
import { decodeJournalledTraining } from '../wire/training.ts'
import {
  areConversations,
  countOf,
  decodeRow,
  type EncodedRow,
  encodeRows,
  encodeToEmbed,
  rowsOf,
  withInputs,
} from '../wire/twinkle-rows.ts'
import type { AdapterStates } from './adapter-states.ts'
import { finished } from './finished.ts'
import type { Futures } from './futures.ts'
import type { Run } from './runs.ts'
import type { Sampling } from './sampling.ts'
import type { Submitted, Training } from './training.ts'
import type { Address, TwinkleAdapters } from './twinkle-adapters.ts'
import { checkTask, EMBEDDING, type LossChoice, lossFor } from './twinkle-losses.ts'
import { type AdapterState, afterLrStep, currentOptimizer, divisorOf, isUpdateDue } from './twinkle-state.ts'

/** A request about an adapter, and whether its caller is still there. */
export interface Asked extends Address {
  readonly signal: AbortSignal
}

export type ModelOutput = {
  /** Null where the loss cannot be computed without inputs that the call did not have. */
  readonly loss: number | null
  readonly logps: number[][]
  readonly logits: null
  readonly num_tokens: number
  /** Of losses that reward entropy. */
  readonly entropies?: number[][]
  /** Of rows that were to be embedded. */
  readonly embeddings?: number[][]
}

export interface Clip {
  readonly maxNorm: number | null
  readonly normType: number
}

export interface TwinkleTrainingParts {
  readonly journal: Journal
  readonly futures: Futures
  readonly states: AdapterStates
  readonly adapters: TwinkleAdapters
  readonly training: Training
  readonly sampling: Sampling
}

/** What our engines compute as it is, and nothing else: 1 for a temperature, no logits, language models and embeddings. */
const FIXED: Readonly<Record<string, readonly unknown[]>> = {
  temperature: [1],
  return_logits: [false],
  task: ['causal_lm', EMBEDDING],
}

export class TwinkleTraining {
  readonly #parts: TwinkleTrainingParts
  constructor(parts: TwinkleTrainingParts) {
    this.#parts = parts
  }

  /** Keeps the batch for calculateLoss and backward. */
  async forward(asked: Asked, inputs: unknown, kwargs: Kwargs): Promise<ModelOutput> {
    const rows = encoded(inputs, kwargs)
    return this.#inTurn(asked, kwargs, async (run, state) => {
      const { output, operation } = await this.#pass(asked, run, lossFor(state.loss, rows, kwargs), rows, true)
      await this.#parts.states.change(run.id, (now) => ({ ...now, batch: operation }))
      return output
    })
  }

  /** Of the adapter's loss where the call has what it reads; null otherwise. */
  async forwardOnly(asked: Asked, inputs: unknown, kwargs: Kwargs): Promise<ModelOutput> {
    const rows = encoded(inputs, kwargs)
    if (asked.name === '' || kwargs.disable_lora === true) {
      if (kwargs.task === EMBEDDING) refuseKeyword('task', kwargs.task, 'causal_lm')
      return this.#base(asked, rows)
    }
    return this.#inTurn(asked, kwargs, async (run, state) => {
      return (await this.#pass(asked, run, lossFor(state.loss, rows, kwargs), rows, true)).output
    })
  }

  async forwardBackward(asked: Asked, inputs: unknown, kwargs: Kwargs): Promise<ModelOutput> {
    const rows = encoded(inputs, kwargs)
    return this.#inTurn(asked, kwargs, async (run, state) => {
      checkTask(state.loss, kwargs)
      return (await this.#pass(asked, run, { spec: state.loss, isComputed: true }, rows, false)).output
    })
  }

  /** The loss of the last forward's batch, with what this call gives the loss to read. Throws NO_BATCH. */
  async calculateLoss(asked: Asked, kwargs: Kwargs): Promise<number> {
    return this.#inTurn(asked, kwargs, async (run, state) => {
      const rows = withInputs(await this.#batchOf(asked, state), kwargs)
      const { output, operation } = await this.#pass(asked, run, { spec: state.loss, isComputed: true }, rows, true)
      await this.#parts.states.change(run.id, (now) => ({ ...now, batch: operation }))
      return output.loss as number
    })
  }

  /** Once for each forward. Throws NO_BATCH. */
  async backward(asked: Asked, kwargs: Kwargs): Promise<void> {
    await this.#inTurn(asked, kwargs, async (run, state) => {
      const rows = withInputs(await this.#batchOf(asked, state), kwargs)
      await this.#pass(asked, run, { spec: state.loss, isComputed: true }, rows, false)
    })
  }

  /** The norm before clipping; null before an update is due. */
  async clip(asked: Asked, clip: Clip, kwargs: Kwargs): Promise<number | null> {
    return this.#inTurn(asked, kwargs, (run, state) => this.#clip(asked, run, state, clip))
  }

  async step(asked: Asked, kwargs: Kwargs): Promise<void> {
    await this.#inTurn(asked, kwargs, (run, state) => this.#step(asked, run, state))
  }

  async zeroGrad(asked: Asked, kwargs: Kwargs): Promise<void> {
    await this.#inTurn(asked, kwargs, (run, state) => this.#zeroGrad(asked, run, state))
  }

  async lrStep(asked: Asked, kwargs: Kwargs): Promise<void> {
    const { gradient_accumulation_steps: _, ...ofStep } = kwargs
    await this.#inTurn(asked, kwargs, async (run, state) => {
      if (isUpdateDue(state)) await this.#parts.states.change(run.id, (now) => afterLrStep(now, ofStep))
    })
  }

  /** clip, step, zeroGrad and lrStep in one turn. */
  async clipAndStep(asked: Asked, clip: Clip, kwargs: Kwargs): Promise<void> {
    await this.#inTurn(asked, kwargs, async (run, state) => {
      if (!isUpdateDue(state)) return
      stepOf(state)
      await this.#clip(asked, run, state, clip)
      await this.#step(asked, run, await this.#parts.states.read(run.id))
      await this.#zeroGrad(asked, run, await this.#parts.states.read(run.id))
      await this.#parts.states.change(run.id, (now) => afterLrStep(now, {}))
    })
  }

  async #clip(asked: Asked, run: Run, state: AdapterState, { maxNorm, normType }: Clip): Promise<number | null> {
    if (!isUpdateDue(state)) return null
    const { training } = this.#parts
    const call = { divisor: divisorOf(state), maxNorm, normType }
    const value = await this.#json(asked, training.clipGradients(run.tenant, run.id, 0, call))
    return Number(value.grad_norm)
  }

  async #step(asked: Asked, run: Run, state: AdapterState): Promise<void> {
    const settings = stepOf(state)
    if (!isUpdateDue(state)) return
    await this.#json(asked, this.#parts.training.optimStep(run.tenant, run.id, 0, settings))
  }

  async #zeroGrad(asked: Asked, run: Run, state: AdapterState): Promise<void> {
    if (!isUpdateDue(state)) return
    await this.#json(asked, this.#parts.training.zeroGrad(run.tenant, run.id, 0))
  }

  /** Has a turn of the adapter, with its state as it is then. Whatever call names it changes the accumulation. */
  async #inTurn<T>(asked: Asked, kwargs: Kwargs, work: (run: Run, state: AdapterState) => Promise<T>): Promise<T> {
    const { adapters, states } = this.#parts
    return adapters.inTurn(asked, async (run) => {
      const accumulation = kwargs.gradient_accumulation_steps as number | null | undefined
      const state = accumulation
        ? await states.change(run.id, (now) => ({ ...now, accumulation }))
        : await states.read(run.id)
      return work(run, state)
    })
  }

  async #pass(
    asked: Asked,
    run: Run,
    { spec, isComputed }: LossChoice,
    rows: readonly EncodedRow[],
    forwardOnly: boolean,
  ) {
    const { training, futures } = this.#parts
    const { requestId } = await training.train(run.tenant, {
      family: 'twinkle',
      modelId: run.id,
      seqId: 0,
      forwardOnly,
      lossName: spec.name,
      lossConfig: spec.config,
      datums: rows.map(({ datum }) => datum),
      matrix: rows.map(({ datum }) => datum.width > 1),
    })
    const reply = await finished(futures, run.tenant, requestId, asked.signal)
    const { metrics, logprobs, entropies, embeddings } = reply.value as TrainingReply
    // Of several targets a position the first one stands for it.
    const values = logprobs.map(({ values: all, width }) => all.filter((_, i) => i % width === 0))
    const output: ModelOutput = {
      ...outputOf(rows, values, isComputed ? (metrics['loss:sum'] ?? null) : null),
      ...(entropies && { entropies: rows.map((row, i) => decodeRow(row, entropies[i] ?? [])) }),
      ...(embeddings && { embeddings: embeddings.map((row) => [...row]) }),
    }
    return { operation: requestId, output }
  }

  /** Of the base model: each label is another token scored in its place, by whatever samples from it. */
  async #base({ party, baseModel, signal }: Asked, rows: readonly EncodedRow[]): Promise<ModelOutput> {
    const { sampling, futures } = this.#parts
    const submitted = await Promise.all(rows.map((row) => sampling.sample(party.tenant, scoringCall(baseModel, row))))
    const replies = await Promise.all(
      submitted.map(({ requestId }) => finished(futures, party.tenant, requestId, signal)),
    )
    const scored = replies.map(({ value }) => (value as { promptTargets?: { logprobs: Float32Array } }).promptTargets)
    return outputOf(
      rows,
      scored.map((targets) => targets?.logprobs ?? new Float32Array()),
      null,
    )
  }

  async #batchOf({ party }: Asked, { batch }: AdapterState): Promise<EncodedRow[]> {
    const { journal } = this.#parts
    const row = batch === null ? undefined : await journal.find(party.tenant, batch)
    if (!row || (row.payload === null && row.payload_file === null)) throw serviceError('NO_BATCH')
    const { datums } = decodeJournalledTraining(await journal.payloadOf(row))
    return datums.map((datum) => ({ datum, positions: [...datum.tokens.keys()], length: datum.tokens.length }))
  }

  async #json({ party, signal }: Asked, submitting: Promise<Submitted>): Promise<Readonly<Record<string, unknown>>> {
    const { requestId } = await submitting
    const reply = await finished(this.#parts.futures, party.tenant, requestId, signal)
    return reply.value as Readonly<Record<string, unknown>>
  }
}

function refuseKeyword(name: string, value: unknown, wanted: unknown): never {
  throw serviceError('UNSUPPORTED_KEYWORD', { name, value: JSON.stringify(value), wanted: JSON.stringify(wanted) })
}

function encoded(inputs: unknown, kwargs: Kwargs): EncodedRow[] {
  for (const [name, values] of Object.entries(FIXED)) {
    const value = kwargs[name]
    if (value === null || value === undefined || values.includes(value)) continue
    refuseKeyword(name, value, values[0])
  }
  const rows = rowsOf(inputs)
  if (areConversations(rows)) throw serviceError('CONVERSATIONS')
  return kwargs.task === EMBEDDING ? encodeToEmbed(rows) : encodeRows(rows, kwargs)
}

/** Throws NO_OPTIMIZER. */
function stepOf(state: AdapterState): OptimSettings {
  const spec = currentOptimizer(state)
  if (!spec) throw serviceError('NO_OPTIMIZER')
  return { ...spec, fresh: state.optimizer?.isFresh ?? false }
}

function outputOf(rows: readonly EncodedRow[], values: readonly ArrayLike<number>[], loss: number | null): ModelOutput {
  const logps = rows.map((row, i) => decodeRow(row, values[i] ?? []))
  return { loss, logps, logits: null, num_tokens: countOf(rows) }
}

/** The last label stands where there is no token: one is put behind, which nothing else depends on. */
function scoringCall(baseModel: string, { datum: { tokens, targets, mask } }: EncodedRow): SampleCall {
  const ids = Array.from(targets, (target, i) => (mask?.[i] ? target : -1))
  return {
    baseModel,
    prompt: Int32Array.of(...tokens, 0),
    samples: 0,
    maxTokens: 0,
    temperature: 1,
    topK: 0,
    topP: 1,
    promptLogprobs: false,
    topkPromptLogprobs: 0,
    topkSampleLogprobs: 0,
    targetPromptLogprobs: { shape: [ids.length, 1], ids },
  }
}
