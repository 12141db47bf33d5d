// The tokenizer of a model: text to tokens and back, and its chat template, in one object. Read by the routes of a model hub:
// from the server itself, which has the files of what it serves, else from the hub that HF_ENDPOINT names.

import { type ChatMessage, type ChatTemplate, loadChatTemplate } from '../../formats/chat-template.ts'
import { loadTokenizer as readTokenizer, type Tokenizer } from '../../formats/tokenizer.ts'
import { variable } from './environment.ts'
import { StatusError, TinkerError } from './errors.ts'
import type { Http } from './http.ts'

export interface ChatOptions {
  readonly addGenerationPrompt?: boolean
  /** Tools the model may call, as its template wants them. */
  readonly tools?: readonly unknown[]
  /** Further variables that some templates know, such as `enable_thinking`. */
  readonly variables?: Readonly<Record<string, unknown>>
}

export interface ServedTokenizer {
  encode(text: string, options?: { readonly addSpecialTokens?: boolean }): number[]
  decode(tokens: readonly number[], options?: { readonly skipSpecialTokens?: boolean }): string
  /** Tokens of a conversation in the model's own format. Throws TinkerError when the model has no chat template. */
  applyChatTemplate(messages: readonly ChatMessage[], options?: ChatOptions): number[]
  /** The same as text. */
  renderChatTemplate(messages: readonly ChatMessage[], options?: ChatOptions): string
  idOf(token: string): number | undefined
}

const NEEDED = ['tokenizer.json', 'tokenizer_config.json']
const OPTIONAL = ['chat_template.jinja']
const HUB = 'https://huggingface.co'

/** Gives a file, or undefined where it is not. */
type Source = { readonly name: string; readonly read: (file: string) => Promise<Uint8Array | undefined> }

const loaded = new WeakMap<Http, Map<string, Promise<ServedTokenizer>>>()

/** Loaded once for each server and model. Throws TinkerError that names where it was looked for. */
export function loadTokenizer(http: Http, baseModel: string, tokenizerId?: string | null): Promise<ServedTokenizer> {
  const id = tokenizerId || tokenizerNameOf(baseModel)
  const byId = loaded.get(http) ?? new Map<string, Promise<ServedTokenizer>>()
  loaded.set(http, byId)
  const known = byId.get(id)
  if (known) return known
  const tokenizer = load(http, id)
  byId.set(id, tokenizer)
  tokenizer.catch(() => byId.delete(id))
  return tokenizer
}

/** Where models of variants have no tokenizer of their own, as the Python SDK has it. */
export function tokenizerNameOf(baseModel: string): string {
  const name = baseModel.split(':')[0] ?? baseModel
  // The models themselves are gated; this is the same tokenizer without the gate.
  if (name.startsWith('meta-llama/Llama-3')) return 'thinkingmachineslabinc/meta-llama-3-instruct-tokenizer'
  const parts = name.split('/')
  return parts.length === 3 ? parts.slice(0, 2).join('/') : name
}

async function load(http: Http, id: string): Promise<ServedTokenizer> {
  const hub = (variable('HF_ENDPOINT') ?? HUB).replace(/\/+$/, '')
  const sources: Source[] = [
    { name: http.baseUrl, read: (file) => fromServer(http, id, file) },
    { name: hub, read: (file) => fromHub(http, `${hub}/${id}/resolve/main/${file}`) },
  ]
  for (const source of sources) {
    const files = await filesOf(source)
    if (files) return served(id, readTokenizer(files, id), loadChatTemplate(files, id))
  }
  throw new TinkerError(
    `Neither ${sources.map(({ name }) => name).join(' nor ')} has ${NEEDED.join(' and ')} of ${id}. Next: set HF_ENDPOINT to a hub that has them; gated and private models need a server that serves their tokenizer.`,
  )
}

async function filesOf(source: Source): Promise<Record<string, Uint8Array> | undefined> {
  const names = [...NEEDED, ...OPTIONAL]
  const contents = await Promise.all(names.map((name) => source.read(name)))
  const files = Object.fromEntries(names.map((name, index) => [name, contents[index]]).filter(([, content]) => content))
  return NEEDED.every((name) => name in files) ? (files as Record<string, Uint8Array>) : undefined
}

async function fromServer(http: Http, name: string, file: string): Promise<Uint8Array | undefined> {
  try {
    return (await http.send('hubFile', { path: { name, revision: 'main', file }, accept: '*/*' })).bytes
  } catch (error) {
    // A server of another kind has no such routes, and each says so in its own way.
    if (error instanceof StatusError && error.status >= 400 && error.status < 500) return undefined
    throw error
  }
}

/** Without the server's key: it is none of the hub's business. */
async function fromHub(http: Http, url: string): Promise<Uint8Array | undefined> {
  try {
    const response = await http.fetch(url, {})
    return response.ok ? new Uint8Array(await response.arrayBuffer()) : undefined
  } catch {
    return undefined
  }
}

function served(id: string, tokenizer: Tokenizer, template: ChatTemplate | undefined): ServedTokenizer {
  const render = (messages: readonly ChatMessage[], options?: ChatOptions) => {
    if (!template) throw new TinkerError(`${id} has no chat template; write the prompt as text and encode it.`)
    return template.render(messages, options)
  }
  return {
    encode: (text, options) => tokenizer.encode(text, options),
    decode: (tokens, options) => tokenizer.decode(tokens, options),
    idOf: (token) => tokenizer.idOf(token),
    renderChatTemplate: render,
    applyChatTemplate: (messages, options) => tokenizer.encode(render(messages, options), { addSpecialTokens: false }),
  }
}
