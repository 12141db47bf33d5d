// Between conversations and tokens, in the format of the model that is trained. The recipes beside it share it.

import {
  ModelInput,
  type SampledSequence,
  type SamplingClient,
  type SamplingParams,
  type ServedTokenizer,
  type TrainingClient,
} from '../../src/client/tinker/index.ts'

export class Chat {
  readonly #tokenizer: ServedTokenizer
  readonly #end: number

  static async of(client: TrainingClient | SamplingClient, endToken = '<|im_end|>'): Promise<Chat> {
    const tokenizer = await client.getTokenizer()
    const end = tokenizer.idOf(endToken)
    if (end === undefined) throw new Error(`The tokenizer has no token ${endToken}.`)
    return new Chat(tokenizer, end)
  }

  private constructor(tokenizer: ServedTokenizer, end: number) {
    this.#tokenizer = tokenizer
    this.#end = end
  }

  prompt(question: string): number[] {
    return this.#tokenizer.applyChatTemplate([{ role: 'user', content: question }], { addGenerationPrompt: true })
  }

  /** With the token that ends it. */
  answer(text: string): number[] {
    return [...this.#tokenizer.encode(text, { addSpecialTokens: false }), this.#end]
  }

  text(tokens: readonly number[]): string {
    return this.#tokenizer.decode(tokens, { skipSpecialTokens: true })
  }

  async draw(
    client: SamplingClient,
    question: string,
    numSamples: number,
    samplingParams: SamplingParams,
  ): Promise<readonly SampledSequence[]> {
    const prompt = ModelInput.fromInts(this.prompt(question))
    return (await client.sample({ prompt, numSamples, samplingParams })).sequences
  }

  /** The most likely answer. */
  async ask(client: SamplingClient, question: string): Promise<string> {
    const [sequence] = await this.draw(client, question, 1, { maxTokens: 32, temperature: 0 })
    return this.text(sequence?.tokens ?? [])
  }
}

export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length)
}

/** Numbers in [0, 1), the same for the same seed: Lehmer's generator with the multiplier of Park and Miller (1988). */
export function randomOf(seed: number): () => number {
  let state = seed
  return () => {
    state = (state * 48_271) % 2_147_483_647
    return state / 2_147_483_647
  }
}
