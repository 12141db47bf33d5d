// What a generation request hears: scores of its prompt, then sequences, token by token. A draw depends on seed, sequence and
// position alone, so the answer is the same whoever else is served. Knows one request; whether it still wants more is the
// engine's to ask between two yields.

import { chooseToken, engineError, keyOfSeed, StopStrings, uniform } from 'twinkle-ts/backends'

/**
 * @typedef {import('twinkle-ts/backends').GenerationEvent} GenerationEvent
 * @typedef {import('twinkle-ts/backends').GenerationRequest} GenerationRequest
 * @typedef {import('./adapter.mjs').Weights} Weights
 * @typedef {import('./model.mjs').BigramModel} BigramModel
 */

/**
 * Yields after each token that it draws: an event, or null where the request need not hear of it.
 * @param {BigramModel} model
 * @param {Weights | null} weights
 * @param {GenerationRequest} request
 * @returns {Generator<GenerationEvent | null>}
 */
export function* generationSteps(model, weights, request) {
  const { promptLogprobs, topkPromptLogprobs, promptTargets, promptDraws } = request
  if (promptLogprobs || topkPromptLogprobs || promptTargets || promptDraws) yield scorePrompt(model, weights, request)
  for (let index = 0; index < request.samples; index++) yield* drawSequence(model, weights, request, index)
}

/**
 * @param {BigramModel} model
 * @param {Weights | null} weights
 * @param {GenerationRequest} request
 * @param {number} index
 * @returns {Generator<GenerationEvent | null>}
 */
function* drawSequence(model, weights, request, index) {
  const { prompt, maxTokens, temperature, stopTokens, stopStrings, topkSampleLogprobs: k, stream } = request
  const key = keyOfSeed(request.seed)
  const stops = new StopStrings(model.tokenizer, stopStrings)
  const tokens = new Int32Array(maxTokens)
  const logprobs = new Float32Array(maxTokens)
  const best = new BestTokens(maxTokens, k)
  let last = prompt[prompt.length - 1]
  for (let n = 0; n < maxTokens; n++) {
    const row = finite(model.logprobs(weights, last, temperature || 1), request)
    if (k > 0) best.put(n, model.logprobs(weights, last))
    last = draw(row, request, uniform(key, index, prompt.length + n))
    tokens[n] = last
    logprobs[n] = row[last]
    const isStopped = stops.push(last) || stopTokens.includes(last)
    /** @param {number} start */
    const since = (start) => ({
      index,
      tokens: tokens.slice(start, n + 1),
      logprobs: logprobs.slice(start, n + 1),
      ...(k > 0 && { topk: best.slice(start, n + 1) }),
    })
    yield stream ? { type: 'tokens', start: n, ...since(n) } : null
    if (!isStopped && n + 1 < maxTokens) continue
    yield { type: 'sample', ...since(0), stopReason: isStopped ? 'stop' : 'length' }
    return
  }
}

/**
 * Positions are scored by what comes before them, so nothing is said of the first.
 * @param {BigramModel} model
 * @param {Weights | null} weights
 * @param {GenerationRequest} request
 * @returns {GenerationEvent}
 */
function scorePrompt(model, weights, request) {
  const { prompt, promptLogprobs, topkPromptLogprobs: k, scorePromptFrom = 1, promptTargets, promptDraws = 0 } = request
  const key = keyOfSeed(request.seed)
  const logprobs = new Float32Array(prompt.length).fill(Number.NaN)
  const best = new BestTokens(prompt.length, k)
  const targets = new Float32Array(promptTargets?.ids.length ?? 0)
  const draws = {
    ids: new Int32Array((prompt.length - 1) * promptDraws),
    logprobs: new Float32Array((prompt.length - 1) * promptDraws),
  }
  for (let at = 1; at < prompt.length; at++) {
    const row = finite(model.logprobs(weights, prompt[at - 1]), request)
    if (at >= scorePromptFrom) {
      logprobs[at] = row[prompt[at]]
      best.put(at, row)
    }
    const { starts, ids } = promptTargets ?? { starts: [], ids: [] }
    for (let i = starts[at - 1]; i < starts[at]; i++) targets[i] = row[ids[i]]
    const tempered = promptDraws ? model.logprobs(weights, prompt[at - 1], request.temperature || 1) : row
    for (let d = 0; d < promptDraws; d++) {
      const u = uniform(key, d, at, 'promptDraw')
      const id = draw(tempered, { temperature: request.temperature, topK: 0, topP: 1 }, u)
      draws.ids[(at - 1) * promptDraws + d] = id
      draws.logprobs[(at - 1) * promptDraws + d] = row[id]
    }
  }
  return {
    type: 'prompt',
    ...(promptLogprobs && { logprobs }),
    ...(k > 0 && { topk: best.slice(0, prompt.length) }),
    ...(promptTargets && { targets }),
    ...(promptDraws > 0 && { draws }),
  }
}

/** The best tokens of some rows, [rows, k]; rows that are not put stay ids 0 and logprobs NaN. */
class BestTokens {
  /** @param {number} rows @param {number} k */
  constructor(rows, k) {
    this.k = k
    this.ids = new Int32Array(rows * k)
    this.logprobs = new Float32Array(rows * k).fill(Number.NaN)
  }

  /** @param {number} row @param {Float64Array} logprobs */
  put(row, logprobs) {
    bestFirst(logprobs, this.k).forEach((id, i) => {
      this.ids[row * this.k + i] = id
      this.logprobs[row * this.k + i] = logprobs[id]
    })
  }

  /** @param {number} from @param {number} to */
  slice(from, to) {
    const { k, ids, logprobs } = this
    return { k, ids: ids.slice(from * k, to * k), logprobs: logprobs.slice(from * k, to * k) }
  }
}

/**
 * A token for the random number `u`; `logprobs` are tempered already.
 * @param {Float64Array} logprobs
 * @param {import('twinkle-ts/backends').ChoiceRule} rule
 * @param {number} u
 */
function draw(logprobs, { temperature, topK, topP }, u) {
  const ids = bestFirst(logprobs, logprobs.length)
  const logits = ids.map((id) => logprobs[id])
  const temperedSum = logits.reduce((sum, logit) => sum + Math.exp(logit - logits[0]), 0)
  const rule = { temperature: temperature === 0 ? 0 : 1, topK, topP }
  return ids[/** @type {number} */ (chooseToken({ logits, temperedSum }, rule, ids.length, u))]
}

/** Ids of the `k` best, ties to the lower id. @param {Float64Array} logprobs @param {number} k */
function bestFirst(logprobs, k) {
  const ids = Array.from(logprobs, (_, id) => id)
  return ids.sort((a, b) => logprobs[b] - logprobs[a] || a - b).slice(0, k)
}

/** @param {Float64Array} row @param {GenerationRequest} request */
function finite(row, { operation }) {
  if (!row.some(Number.isNaN)) return row
  throw engineError(
    'NON_FINITE',
    `generation ${operation}: logits of this adapter left the range of floats; load an earlier one`,
  )
}
