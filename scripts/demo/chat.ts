// Between conversations and tokens, in the format of the model that is trained: prompts, answers, training examples.

import {
  type Datum,
  ModelInput,
  type SamplingClient,
  type ServedTokenizer,
  type TrainingClient,
} from '../../src/client/tinker/index.ts'

export class Chat {
  readonly #tokenizer: ServedTokenizer
  readonly #end: number

  constructor(tokenizer: ServedTokenizer, endToken: string) {
    const end = tokenizer.idOf(endToken)
    if (end === undefined) throw new Error(`The tokenizer has no token ${endToken}.`)
    this.#tokenizer = tokenizer
    this.#end = end
  }

  static async of(client: TrainingClient | SamplingClient, endToken: string): Promise<Chat> {
    return new Chat(await client.getTokenizer(), endToken)
  }

  prompt(question: string): number[] {
    return this.#tokenizer.applyChatTemplate([{ role: 'user', content: question }], { addGenerationPrompt: true })
  }

  answer(text: string): number[] {
    return [...this.#tokenizer.encode(text, { addSpecialTokens: false }), this.#end]
  }

  text(tokens: readonly number[]): string {
    return this.#tokenizer.decode(tokens, { skipSpecialTokens: true })
  }

  /** The most likely answer of at most this many tokens. */
  async ask(client: SamplingClient, question: string, maxTokens: number): Promise<string> {
    const prompt = ModelInput.fromInts(this.prompt(question))
    const { sequences } = await client.sample({ prompt, samplingParams: { maxTokens, temperature: 0 } })
    return this.text(sequences[0]?.tokens ?? [])
  }
}

/**
 * An example that predicts each token of the answer from what is before it. `inputs` hold a value for each token of the
 * answer; positions of the prompt get 0.
 */
export function exampleOf(
  prompt: readonly number[],
  answer: readonly number[],
  inputs: Readonly<Record<string, readonly number[]>>,
): Datum {
  const padding = new Array<number>(prompt.length - 1).fill(0)
  const padded = Object.entries(inputs).map(([name, values]) => [name, [...padding, ...values]] as const)
  return {
    modelInput: ModelInput.fromInts([...prompt, ...answer.slice(0, -1)]),
    lossFnInputs: { target_tokens: [...prompt.slice(1), ...answer], ...Object.fromEntries(padded) },
  }
}
