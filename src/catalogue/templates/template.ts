// From a conversation to what a model trains on: the model's own chat template gives the text, its tokenizer the tokens, and
// what the assistant says is what is learned. Labels leave here shifted by one, as training and sampling expect them.
// Knows one model's tokenizer and chat template; knows nothing of where rows come from.

import { type ChatTemplate, ChatTemplateError } from '../../formats/chat-template.ts'
import type { Tokenizer } from '../../formats/tokenizer.ts'
import type { Arguments } from '../arguments.ts'
import { CatalogueError } from '../catalogue-error.ts'
import { type Pace, UNBOUND } from '../pace.ts'
import { parserFor } from '../parsers/index.ts'
import {
  IGNORED,
  type InputFeature,
  invalidRow,
  isTrajectory,
  type Message,
  type Row,
  type Trajectory,
  userData,
} from '../rows.ts'
import { standardMessages } from './standard-messages.ts'
import { type Labelled, TRUNCATION_STRATEGIES, type TruncationStrategy, truncated } from './truncation.ts'

/** What a template needs of a model. */
export interface TemplateModel {
  readonly name: string
  readonly tokenizer: Pick<Tokenizer, 'encode' | 'decode'>
  /** Absent: a model that only continues text. */
  readonly chat: ChatTemplate | undefined
}

export interface TemplateOptions {
  /** False: each row is one user message, whose text is trained on as it is. */
  readonly useChatTemplate: boolean
  /** Tokens of a row; null = any number. */
  readonly maxLength: number | null
  readonly truncationStrategy: TruncationStrategy
  /** Put before conversations that begin with the user. */
  readonly defaultSystem: string | null
  /** Given to the chat template; only some know it. */
  readonly enableThinking: boolean
}

/** Arguments that say how others load a tokenizer: ours is the served model's, whatever they are. */
const LOADING = ['model_id', 'trust_remote_code', 'revision', 'use_fast', 'remote_group', 'device_mesh', 'adapter_name']

export function templateOptions(args: Arguments): TemplateOptions {
  args.ignore(...LOADING)
  const options = {
    useChatTemplate: args.boolean('use_chat_template', true),
    maxLength: args.integerOrNull('max_length', 8192, { atLeast: 1 }),
    truncationStrategy: args.choice('truncation_strategy', 'raise', TRUNCATION_STRATEGIES),
    defaultSystem: args.textOrNull('default_system', null),
    enableThinking: args.boolean('enable_thinking', true),
  }
  args.end()
  return options
}

/** Of one row as text: so much is encoded at a stretch, in which nobody else is served. */
const MOST_CHARACTERS = 2 ** 17

export class Template {
  readonly options: TemplateOptions
  readonly #model: TemplateModel

  constructor(model: TemplateModel, options: TemplateOptions) {
    this.#model = model
    this.options = options
  }

  /**
   * Rests between the turns of a conversation: each costs as much as encoding all before it.
   * A row of a conversation gives one row, or as many as its truncation makes of it; a row that holds conversations in its
   * columns (`positive`, `negative`) gives one with each of them encoded. Other columns travel along.
   *
   * @throws CatalogueError INVALID_ROW, TOO_LONG, UNSUPPORTED_NAME (media)
   */
  async encode(row: Row, addGenerationPrompt = false, pace: Pace = UNBOUND): Promise<Row[]> {
    if (isTrajectory(row)) return this.#encode(row, addGenerationPrompt, pace)
    const columns = Object.entries(row).filter(([, value]) => isTrajectory(value))
    if (columns.length === 0)
      throw invalidRow('has no messages', 'Map a preprocessor over the data first, such as AlpacaProcessor.')
    const encoded: [string, Row | undefined][] = []
    for (const [name, value] of columns) {
      const [first, ...more] = await this.#encode(value as Trajectory, addGenerationPrompt, pace)
      if (more.length > 0)
        throw invalidRow('with several conversations would be split', 'Use another truncation_strategy.')
      encoded.push([name, first])
    }
    if (encoded.some(([, value]) => value === undefined)) return []
    return [{ ...row, ...Object.fromEntries(encoded) }]
  }

  /** Exactly one: for what is sampled from. */
  async encodePrompt(trajectory: Trajectory): Promise<InputFeature> {
    const [feature, ...more] = await this.#encode(trajectory, true, UNBOUND)
    if (feature && more.length === 0) return feature
    throw new CatalogueError(
      'TOO_LONG',
      `The prompt has more tokens than max_length = ${this.options.maxLength}, and its template would ${this.options.truncationStrategy} it.`,
      'Give a larger max_length, or the truncation_strategy left or right.',
    )
  }

  /**
   * A feature with what was sampled after it: its tokens are labels, its text is one more turn of the assistant where the
   * feature has messages. Trainable as it is.
   */
  extend(feature: Row & Pick<InputFeature, 'input_ids'>, tokens: readonly number[]): InputFeature {
    const ids = [...feature.input_ids, ...tokens]
    const labels = [...unshifted(feature), ...tokens]
    const extended = { ...feature, ...featureOf({ ids, labels }) }
    return isTrajectory(feature) ? { ...extended, messages: [...feature.messages, this.#turn(tokens)] } : extended
  }

  decode(tokens: readonly number[]): string {
    return this.#model.tokenizer.decode(tokens)
  }

  #turn(tokens: readonly number[]): Message {
    const text = this.#model.tokenizer.decode(tokens, { skipSpecialTokens: true })
    const parser = parserFor(text)
    const calls = parser?.parse(text) ?? []
    if (!parser || calls.length === 0) return { role: 'assistant', content: text }
    return { role: 'assistant', content: parser.clean(text), tool_calls: calls }
  }

  async #encode(trajectory: Trajectory, addGenerationPrompt: boolean, pace: Pace): Promise<InputFeature[]> {
    const { maxLength, truncationStrategy, useChatTemplate } = this.options
    const conversation = { ...trajectory, messages: this.#messages(trajectory) }
    const labelled = useChatTemplate
      ? await this.#encodeChat(conversation, addGenerationPrompt, pace)
      : this.#encodeText(conversation.messages, addGenerationPrompt)
    return truncated(labelled, maxLength, truncationStrategy).map((row) => ({ ...conversation, ...featureOf(row) }))
  }

  #messages(trajectory: Trajectory): Message[] {
    const messages = standardMessages(trajectory, this.#model.chat?.mentions('reasoning_content') ?? false)
    const { defaultSystem, useChatTemplate } = this.options
    if (!useChatTemplate || !defaultSystem || messages[0]?.role !== 'user') return messages
    return [{ role: 'system', content: defaultSystem }, ...messages]
  }

  #encodeText(messages: readonly Message[], addGenerationPrompt: boolean): Labelled {
    const [only, ...more] = messages
    if (only?.role !== 'user' || more.length > 0) {
      throw invalidRow('has turns, but use_chat_template is false', 'Then each row is one message of the user.')
    }
    const text = only.content as string
    if (text.length > MOST_CHARACTERS) throw tooLong(text)
    const ids = this.#model.tokenizer.encode(text)
    return { ids, labels: addGenerationPrompt ? ids.map(() => IGNORED) : ids }
  }

  async #encodeChat(trajectory: Trajectory, addGenerationPrompt: boolean, pace: Pace): Promise<Labelled> {
    const { messages } = trajectory
    if (messages.length === 0) throw invalidRow('has an empty list of messages')
    const text = this.#render(trajectory, messages.length, addGenerationPrompt)
    const ids = this.#ids(text)
    const labels: number[] = ids.map(() => IGNORED)
    if (addGenerationPrompt) return { ids, labels }
    const chosen = keyRounds(trajectory)
    for (const [index, { role }] of messages.entries()) {
      if (role !== 'assistant' || (chosen && !chosen.has(index))) continue
      const { start, end } = this.#turnIn(trajectory, index, text, ids)
      for (let i = start; i < end; i++) labels[i] = ids[i]!
      await pace.rest()
    }
    return { ids, labels }
  }

  /**
   * Where the tokens of an assistant's turn lie: from behind its header through the end that the template writes for it.
   * Told by rendering the conversation up to the turn and through it. Templates that write the last turn otherwise (with
   * an empty thought) are followed as far as their texts agree.
   */
  #turnIn(trajectory: Trajectory, index: number, text: string, ids: readonly number[]): { start: number; end: number } {
    const before = this.#render(trajectory, index, true)
    const from = text.startsWith(before) ? before.length : commonLength(before, text)
    if (from < before.length && !text.startsWith(this.#render(trajectory, index, false))) throw this.#otherwise(index)
    const through = this.#render(trajectory, index + 1, false)
    const to = text.startsWith(through)
      ? through.length
      : this.#endIn(trajectory, index, text.slice(from), through) + from
    return { start: this.#tokensOf(text.slice(0, from), ids), end: this.#tokensOf(text.slice(0, to), ids) }
  }

  /** The turn's content and what the template writes after it, in a text that begins with the turn. */
  #endIn({ messages }: Trajectory, index: number, text: string, through: string): number {
    const content = ((messages[index] as Message).content as string).trim()
    const tail = through.slice(through.lastIndexOf(content) + content.length)
    const at = content === '' ? -1 : text.indexOf(content + tail)
    if (at < 0) throw this.#otherwise(index)
    return at + content.length + tail.length
  }

  /** How many of the tokens of a text are of its beginning. One that spans the border is not. */
  #tokensOf(beginning: string, ids: readonly number[]): number {
    return commonLength(this.#ids(beginning), ids)
  }

  #otherwise(index: number): CatalogueError {
    return invalidRow(
      `has an assistant's turn (messages[${index}]) that the chat template of ${this.#model.name} writes otherwise once more turns follow`,
      'Make a row of its own for each such turn, or choose turns with key_rounds in user_data.',
    )
  }

  /** The first turns as text. */
  #render(trajectory: Trajectory, turns: number, addGenerationPrompt: boolean): string {
    const { name, chat } = this.#model
    if (!chat) {
      throw new CatalogueError(
        'UNSUPPORTED_NAME',
        `The model ${name} has no chat template.`,
        'Use use_chat_template=false with one user message a row, or a model that was made for chats.',
      )
    }
    const { tools } = trajectory
    try {
      return chat.render(trajectory.messages.slice(0, turns), {
        addGenerationPrompt,
        variables: { enable_thinking: this.options.enableThinking },
        ...(tools?.length && { tools }),
      })
    } catch (cause) {
      if (cause instanceof ChatTemplateError) throw invalidRow(`does not suit ${name}: ${cause.message}`)
      throw cause
    }
  }

  #ids(text: string): number[] {
    if (text.length > MOST_CHARACTERS) throw tooLong(text)
    return this.#model.tokenizer.encode(text, { addSpecialTokens: false })
  }
}

function tooLong(text: string): CatalogueError {
  return new CatalogueError(
    'TOO_LONG',
    `A row has ${text.length} characters; those with more than ${MOST_CHARACTERS} are not encoded.`,
    'Make several rows of it.',
  )
}

/** The turns to learn, where a row names them; null: all of the assistant's. */
function keyRounds(trajectory: Trajectory): Set<unknown> | null {
  const rounds = userData(trajectory, 'key_rounds')
  return Array.isArray(rounds) && rounds.length > 0 ? new Set(rounds) : null
}

/** Shifts the labels and says what else models want to know of tokens in a row. */
function featureOf({ ids, labels }: Labelled) {
  return {
    input_ids: ids,
    labels: ids.length === 0 ? [] : [...labels.slice(1), IGNORED],
    attention_mask: ids.map(() => 1),
    position_ids: ids.map((_, position) => position),
    length: ids.length,
  }
}

/** One label for each of the feature's own tokens; the first, which nothing predicts, is not learned. */
function unshifted({ input_ids: ids, labels }: Row & Pick<InputFeature, 'input_ids'>): number[] {
  if (ids.length === 0) return []
  if (!Array.isArray(labels) || labels.length !== ids.length) return ids.map(() => IGNORED)
  return [IGNORED, ...(labels as number[]).slice(0, -1)]
}

function commonLength(a: string | readonly number[], b: string | readonly number[]): number {
  const most = Math.min(a.length, b.length)
  for (let i = 0; i < most; i++) if (a[i] !== b[i]) return i
  return most
}
