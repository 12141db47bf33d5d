// Passes of Twinkle's protocol: forward, calculate_loss, backward, forward_backward, forward_only. Each becomes operations of
// the same kind, order and durability as Tinker's, and answers when they are done. Rows may be conversations, which the
// adapter's template encodes. Updates are twinkle-updates.ts's.

import type { Kwargs } from '../../catalogue/arguments.ts'
import { checkMetrics } from '../../catalogue/metrics/metrics.ts'
import type { Pace } from '../../catalogue/pace.ts'
import type { Row } from '../../catalogue/rows.ts'
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
import type { HeldSamples } from './held-samples.ts'
import type { ModelTemplates } from './model-templates.ts'
import type { Run } from './runs.ts'
import type { Training } from './training.ts'
import { TurnsBetween } from './turns-between.ts'
import type { Asked, TwinkleAdapters } from './twinkle-adapters.ts'
import { checkTask, EMBEDDING, type LossChoice, lossFor } from './twinkle-losses.ts'
import { type AdapterState, afterLook, type Named, type Pass } from './twinkle-state.ts'

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

export interface TwinklePassParts {
  readonly journal: Journal
  readonly futures: Futures
  readonly states: AdapterStates
  readonly adapters: TwinkleAdapters
  readonly training: Training
  readonly held: HeldSamples
  readonly templates: ModelTemplates
}

/** What our engines compute as it is, and nothing else: 1 for a temperature, no logits, language models and embeddings. */
const FIXED: Readonly<Record<string, readonly unknown[]>> = {
  temperature: [1],
  return_logits: [false],
  task: ['causal_lm', EMBEDDING],
}

export class TwinklePasses {
  readonly #parts: TwinklePassParts
  readonly #turns = new TurnsBetween()
  constructor(parts: TwinklePassParts) {
    this.#parts = parts
  }

  /** Keeps the batch for calculateLoss and backward. */
  async forward(asked: Asked, inputs: unknown, kwargs: Kwargs): Promise<ModelOutput> {
    checkFixed(kwargs)
    return this.#parts.adapters.withState(asked, kwargs, async (run, state) => {
      const rows = await this.#encoded(asked, state.template, inputs, kwargs)
      const { output, operation } = await this.#pass(asked, run, lossFor(state.loss, rows, kwargs), rows, true)
      await this.#parts.states.change(run.id, (now) => ({ ...now, batch: operation }))
      return output
    })
  }

  /** Of the adapter's loss where the call has what it reads; null otherwise. */
  async forwardOnly(asked: Asked, inputs: unknown, kwargs: Kwargs): Promise<ModelOutput> {
    checkFixed(kwargs)
    const isBase = asked.name === '' || kwargs.disable_lora === true
    if (isBase && kwargs.task === EMBEDDING) refuseKeyword('task', kwargs.task, 'causal_lm')
    if (asked.name === '') return this.#base(asked, await this.#encoded(asked, null, inputs, kwargs))
    return this.#parts.adapters.withState(asked, kwargs, async (run, state) => {
      const rows = await this.#encoded(asked, state.template, inputs, kwargs)
      if (kwargs.disable_lora === true) return this.#base(asked, rows)
      checkMetrics(state.metrics.evaluation, rows.length)
      const { output, pass } = await this.#pass(asked, run, lossFor(state.loss, rows, kwargs), rows, true)
      await this.#parts.states.change(run.id, (now) => afterLook(now, pass))
      return output
    })
  }

  async forwardBackward(asked: Asked, inputs: unknown, kwargs: Kwargs): Promise<ModelOutput> {
    checkFixed(kwargs)
    return this.#parts.adapters.withState(asked, kwargs, async (run, state) => {
      const rows = await this.#encoded(asked, state.template, inputs, kwargs)
      checkTask(state.loss, kwargs)
      checkMetrics(state.metrics.training, rows.length)
      return (await this.#pass(asked, run, { spec: state.loss, isComputed: true }, rows, false)).output
    })
  }

  /** The loss of the last forward's batch, with what this call gives the loss to read. Throws NO_BATCH. */
  async calculateLoss(asked: Asked, kwargs: Kwargs): Promise<number> {
    return this.#parts.adapters.withState(asked, kwargs, async (run, state) => {
      const rows = withInputs(await this.#batchOf(asked, state), kwargs)
      const { output, operation } = await this.#pass(asked, run, { spec: state.loss, isComputed: true }, rows, true)
      await this.#parts.states.change(run.id, (now) => ({ ...now, batch: operation }))
      return output.loss as number
    })
  }

  /** Once for each forward. Throws NO_BATCH. */
  async backward(asked: Asked, kwargs: Kwargs): Promise<void> {
    await this.#parts.adapters.withState(asked, kwargs, async (run, state) => {
      const rows = withInputs(await this.#batchOf(asked, state), kwargs)
      await this.#pass(asked, run, { spec: state.loss, isComputed: true }, rows, false)
    })
  }

  /**
   * Of a template that splits what is too long, one row may become several. A long conversation is encoded turn by turn, and
   * others are served in between.
   */
  async #encoded(
    { baseModel, signal }: Asked,
    template: Named | null,
    inputs: unknown,
    kwargs: Kwargs,
  ): Promise<EncodedRow[]> {
    const rows = rowsOf(inputs)
    if (!areConversations(rows)) return encodedAs(kwargs, rows)
    const { templates } = this.#parts
    const encoder = template
      ? templates.create(baseModel, template.name, template.kwargs)
      : templates.standard(baseModel)
    const pace = this.#pace(signal)
    const features: Row[] = []
    for (const row of rows) {
      features.push(...(await encoder.encode(row, false, pace)))
      await pace.rest()
    }
    return encodedAs(kwargs, features)
  }

  #pace(signal: AbortSignal): Pace {
    const turn = this.#turns.job()
    return {
      rest: async () => {
        await turn()
        if (signal.aborted) throw serviceError('CANCELLED', { what: 'The call' })
      },
      hold: () => {},
    }
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
    const value = isComputed ? (metrics['loss:sum'] ?? null) : null
    const output: ModelOutput = {
      ...outputOf(rows, values, value),
      ...(entropies && { entropies: rows.map((row, i) => decodeRow(row, entropies[i] ?? [])) }),
      ...(embeddings && { embeddings: embeddings.map((row) => [...row]) }),
    }
    const likeliest = metrics['likeliest:sum']
    const pass: Pass = {
      loss: spec,
      datums: rows.map(({ datum }) => datum),
      value,
      logprobs: values,
      ...(likeliest !== undefined && { likeliest }),
      ...(entropies && { entropies }),
      ...(embeddings && { embeddings }),
    }
    return { operation: requestId, pass, output }
  }

  /** Of the base model: each label is another token scored in its place, by whatever samples from it. */
  async #base({ party, baseModel, signal }: Asked, rows: readonly EncodedRow[]): Promise<ModelOutput> {
    const calls = rows.map((row) => scoringCall(baseModel, row))
    const { replies } = await this.#parts.held.begin(party.tenant, calls, signal)
    const scored = (await replies).map(({ promptTargets }) => promptTargets?.logprobs ?? new Float32Array())
    return outputOf(rows, scored, null)
  }

  async #batchOf({ party }: Asked, { batch }: AdapterState): Promise<EncodedRow[]> {
    const { journal } = this.#parts
    const row = batch === null ? undefined : await journal.find(party.tenant, batch)
    if (!row || (row.payload === null && row.payload_file === null)) throw serviceError('NO_BATCH')
    const { datums } = decodeJournalledTraining(await journal.payloadOf(row))
    return datums.map((datum) => ({ datum, positions: [...datum.tokens.keys()], length: datum.tokens.length }))
  }
}

function refuseKeyword(name: string, value: unknown, wanted: unknown): never {
  throw serviceError('UNSUPPORTED_KEYWORD', { name, value: JSON.stringify(value), wanted: JSON.stringify(wanted) })
}

function checkFixed(kwargs: Kwargs): void {
  for (const [name, values] of Object.entries(FIXED)) {
    const value = kwargs[name]
    if (value === null || value === undefined || values.includes(value)) continue
    refuseKeyword(name, value, values[0])
  }
}

const encodedAs = ({ task, ...kwargs }: Kwargs, rows: Parameters<typeof encodeRows>[0]): EncodedRow[] =>
  task === EMBEDDING ? encodeToEmbed(rows) : encodeRows(rows, kwargs)

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
