// The tokenizer of a served model, read from the server by the routes of a model hub: tokenizer and chat template in one
// object, loaded once for each server and model.

import { type ChatMessage, type ChatTemplate, loadChatTemplate } from '../../formats/chat-template.ts'
import { loadTokenizer, type Tokenizer } from '../../formats/tokenizer.ts'
import { StatusError, TinkerError } from './errors.ts'
import type { Http } from './http.ts'

export interface ServedTokenizer {
  encode(text: string, options?: { readonly addSpecialTokens?: boolean }): number[]
  decode(tokens: readonly number[], options?: { readonly skipSpecialTokens?: boolean }): string
  /** Tokens of a conversation in the model's own format. Throws TinkerError when the model has no chat template. */
  applyChatTemplate(messages: readonly ChatMessage[], options?: { readonly addGenerationPrompt?: boolean }): number[]
  idOf(token: string): number | undefined
}

const NEEDED = ['tokenizer.json', 'tokenizer_config.json']
const OPTIONAL = ['chat_template.jinja']

const loaded = new WeakMap<Http, Map<string, Promise<ServedTokenizer>>>()

export function loadServedTokenizer(http: Http, tokenizerId: string): Promise<ServedTokenizer> {
  const byId = loaded.get(http) ?? new Map<string, Promise<ServedTokenizer>>()
  loaded.set(http, byId)
  const known = byId.get(tokenizerId)
  if (known) return known
  const tokenizer = load(http, tokenizerId)
  byId.set(tokenizerId, tokenizer)
  tokenizer.catch(() => byId.delete(tokenizerId))
  return tokenizer
}

async function load(http: Http, id: string): Promise<ServedTokenizer> {
  const names = [...NEEDED, ...OPTIONAL]
  const contents = await Promise.all(names.map((name) => download(http, id, name)))
  const files: Record<string, Uint8Array> = {}
  for (const [index, name] of names.entries()) {
    const content = contents[index]
    if (content) files[name] = content
    else if (NEEDED.includes(name)) throw new TinkerError(`The server has no ${name} of ${id}.`)
  }
  return served(id, loadTokenizer(files, id), loadChatTemplate(files, id))
}

/** Null when the server has no such file. */
async function download(http: Http, name: string, file: string): Promise<Uint8Array | null> {
  try {
    return (await http.send('hubFile', { path: { name, revision: 'main', file }, accept: '*/*' })).bytes
  } catch (error) {
    if (error instanceof StatusError && error.status === 404) return null
    throw error
  }
}

function served(id: string, tokenizer: Tokenizer, template: ChatTemplate | undefined): ServedTokenizer {
  return {
    encode: (text, options) => tokenizer.encode(text, options),
    decode: (tokens, options) => tokenizer.decode(tokens, options),
    idOf: (token) => tokenizer.idOf(token),
    applyChatTemplate(messages, options) {
      if (!template) throw new TinkerError(`${id} has no chat template; write the prompt as text and encode it.`)
      return tokenizer.encode(template.render(messages, options), { addSpecialTokens: false })
    },
  }
}
