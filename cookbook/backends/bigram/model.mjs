// The frozen base model: a table of logits, one row for each last token. With an adapter of A [rank, V] and B [V, rank] the
// logits after token t are table[t] + scale * B A[:, t]: LoRA on a layer whose input is the token as a one-hot vector. Reads
// the folder that make-model.mjs writes. Arithmetic is float64.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { engineError, loadTokenizer, openSafetensors } from 'twinkle-ts/backends'

/** @typedef {import('./adapter.mjs').Weights} Weights */

export class BigramModel {
  /** @param {string} folder with config.json, model.safetensors, tokenizer.json and tokenizer_config.json */
  constructor(folder) {
    const config = readConfig(folder)
    /** How many tokens there are, V. */
    this.vocabulary = config.vocab_size
    this.maxContext = config.max_position_embeddings
    this.endTokens = [config.eos_token_id]
    /** [V, V], row-major: row t has the logits of what follows token t. */
    this.table = readTable(folder, this.vocabulary)
    this.tokenizer = loadTokenizer(
      Object.fromEntries(
        ['tokenizer.json', 'tokenizer_config.json'].map((name) => [name, readFileSync(join(folder, name))]),
      ),
      folder,
    )
  }

  /**
   * log softmax(logits / temperature) of what follows token `last`, [V].
   * @param {Weights | null} weights null: the base model's own
   * @param {number} last
   */
  logprobs(weights, last, temperature = 1) {
    const { vocabulary, table } = this
    const row = Float64Array.from(table.subarray(last * vocabulary, (last + 1) * vocabulary))
    weights?.addLogits(row, last)
    let best = -Infinity
    for (let i = 0; i < vocabulary; i++) {
      row[i] /= temperature
      if (row[i] > best) best = row[i]
    }
    let sum = 0
    for (let i = 0; i < vocabulary; i++) sum += Math.exp(row[i] - best)
    const shift = best + Math.log(sum)
    for (let i = 0; i < vocabulary; i++) row[i] -= shift
    return row
  }
}

/** @param {string} folder */
function readConfig(folder) {
  const file = join(folder, 'config.json')
  const config = JSON.parse(read(file).toString())
  if (config.model_type !== 'bigram') {
    throw engineError(
      'UNSUPPORTED_MODEL',
      `${file}: model_type ${JSON.stringify(config.model_type)} is not supported; use bigram`,
    )
  }
  for (const name of ['vocab_size', 'max_position_embeddings']) {
    if (!(Number.isInteger(config[name]) && config[name] > 0)) {
      throw engineError('INVALID_MODEL', `${file}: ${name} must be a whole number above 0, not ${config[name]}`)
    }
  }
  return config
}

/**
 * @param {string} folder
 * @param {number} vocabulary
 */
function readTable(folder, vocabulary) {
  const file = join(folder, 'model.safetensors')
  const tensor = openSafetensors(file).get('lm_head.weight')
  if (!tensor || tensor.shape.join() !== [vocabulary, vocabulary].join()) {
    throw engineError('INVALID_MODEL', `${file} must have lm_head.weight of shape [${vocabulary}, ${vocabulary}]`)
  }
  return tensor.read()
}

/** @param {string} file */
function read(file) {
  try {
    return readFileSync(file)
  } catch (cause) {
    throw engineError('INVALID_MODEL', `${file} cannot be read: ${/** @type {Error} */ (cause).message}`)
  }
}
