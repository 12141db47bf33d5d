import * as fs from 'node:fs'
import * as path from 'node:path'
import { describe, expect, it } from 'vitest'
import { loadChatTemplate } from './chat-template.ts'
import { StopStrings } from './stop-strings.ts'
import { TextStream } from './text-stream.ts'
import { loadTokenizer } from './tokenizer.ts'

const GOLDENS = path.join(import.meta.dirname, 'goldens')

interface Golden {
  encode: { text: string; ids: number[]; decoded: string; decoded_skip_special: string }[]
  chat: { messages: { role: string; content: string }[]; add_generation_prompt: boolean; text: string; ids: number[] }[]
}

function load(model: string) {
  const read = (name: string) => fs.readFileSync(path.join(GOLDENS, model, name))
  const files = { 'tokenizer.json': read('tokenizer.json'), 'tokenizer_config.json': read('tokenizer_config.json') }
  const golden = JSON.parse(read('tokenization.json').toString()) as Golden
  return { files, golden, tokenizer: loadTokenizer(files, model) }
}

/** llama-tied cuts text as GPT-2 does with digits apart, qwen2-tied as Qwen does. */
describe.each(['llama-tied', 'qwen2-tied'])('%s, as transformers has it', (model) => {
  const { files, golden, tokenizer } = load(model)

  it.each(golden.encode)('text $text', ({ text, ids, decoded, decoded_skip_special }) => {
    expect(tokenizer.encode(text)).toEqual(ids)
    expect(tokenizer.decode(ids)).toBe(decoded)
    expect(tokenizer.decode(ids, { skipSpecialTokens: true })).toBe(decoded_skip_special)
  })

  it.each(golden.encode)('bytes of the tokens of $text are the text', ({ ids, decoded, decoded_skip_special }) => {
    const bytes = Buffer.concat(ids.map((id) => tokenizer.tokenBytes(id)))
    expect(bytes.toString('utf8')).toBe(decoded)
    const stream = new TextStream(tokenizer)
    expect(ids.map((id) => stream.push(id)).join('') + stream.end()).toBe(decoded_skip_special)
  })

  it.each(golden.chat)('chat $messages, generation prompt $add_generation_prompt', (chat) => {
    const template = loadChatTemplate(files, model)
    const text = template?.render(chat.messages, { addGenerationPrompt: chat.add_generation_prompt })
    expect(text).toBe(chat.text)
    expect(tokenizer.encode(chat.text, { addSpecialTokens: false })).toEqual(chat.ids)
  })
})

describe('ids and texts', () => {
  const { tokenizer } = load('llama-tied')

  it('knows special tokens and its size', () => {
    expect([...tokenizer.specialIds]).toEqual([0, 1, 2])
    expect(tokenizer.idOf('<|im_end|>')).toBe(2)
    expect(tokenizer.idOf('nowhere')).toBeUndefined()
    expect(tokenizer.size).toBeLessThanOrEqual(512)
  })

  it('has a token for every single byte', () => {
    const single = new Set<number>()
    for (let id = 3; id < tokenizer.size; id++) {
      const bytes = tokenizer.tokenBytes(id)
      if (bytes.length === 1) single.add(bytes[0] as number)
    }
    expect(single.size).toBe(256)
  })

  it('an id of the padded vocabulary has no text and no bytes', () => {
    const [h] = tokenizer.encode('h')
    expect(tokenizer.decode([h as number, 100_000])).toBe('h')
    expect(tokenizer.decode([100_000])).toBe('')
    expect(tokenizer.tokenBytes(100_000).length).toBe(0)
  })

  it('a character cut between tokens waits for its rest, and is marked when the rest never comes', () => {
    const ids = tokenizer.encode('😀')
    expect(ids.length).toBeGreaterThan(1)
    const stream = new TextStream(tokenizer)
    const pieces = ids.map((id) => stream.push(id))
    expect(pieces.slice(0, -1).every((piece) => piece === '')).toBe(true)
    expect(pieces.at(-1)).toBe('😀')
    stream.push(ids[0] as number)
    expect(stream.end()).toBe('\uFFFD')
  })
})

describe('stop strings', () => {
  const { tokenizer } = load('llama-tied')
  /** Number of tokens up to and including the one that completes a stop string. */
  function stopsAfter(text: string, stops: string[]): number | undefined {
    const watch = new StopStrings(tokenizer, stops)
    const index = tokenizer.encode(text).findIndex((id) => watch.push(id))
    return index < 0 ? undefined : index + 1
  }

  it('are found across token borders, at the token that completes them', () => {
    const text = 'Answer: 42. END of it'
    const before = tokenizer.encode(text).length
    const at = stopsAfter(text, ['2. EN'])
    expect(at).toBeGreaterThan(1)
    expect(at).toBeLessThan(before)
    const said = tokenizer.decode(tokenizer.encode(text).slice(0, at))
    expect(said).toContain('2. EN')
    expect(tokenizer.decode(tokenizer.encode(text).slice(0, (at ?? 0) - 1))).not.toContain('2. EN')
  })

  it('are found when they end within a token, in the middle of bytes, or are a special token', () => {
    expect(stopsAfter('the user asks', ['us'])).toBeDefined()
    expect(stopsAfter('smile 😀 now', ['😀'])).toBeDefined()
    expect(stopsAfter('hi<|im_end|>', ['<|im_end|>'])).toBeDefined()
  })

  it('any of several is enough; none is none', () => {
    expect(stopsAfter('one two three', ['zzz', 'two'])).toBeDefined()
    expect(stopsAfter('one two three', ['zzz', 'four'])).toBeUndefined()
    expect(stopsAfter('one two three', [])).toBeUndefined()
  })

  it('an empty one is refused', () => {
    expect(() => new StopStrings(tokenizer, [''])).toThrow(/must not be empty/)
  })
})

describe('vocabularies with <0xNN> bytes', () => {
  const vocab = { '<unk>': 0, '▁h': 1, i: 2, '<0xC3>': 3, '<0xBC>': 4, '</s>': 5 }
  const decoders = [
    { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
    { type: 'ByteFallback' },
    { type: 'Fuse' },
    { type: 'Strip', content: ' ', start: 1, stop: 0 },
  ]
  const json = {
    added_tokens: [{ id: 5, content: '</s>', special: true }],
    normalizer: null,
    pre_tokenizer: null,
    post_processor: null,
    decoder: { type: 'Sequence', decoders },
    model: { type: 'BPE', vocab, merges: [], byte_fallback: true, unk_token: '<unk>' },
  }
  const files = (tokenizer: unknown) => ({
    'tokenizer.json': Buffer.from(JSON.stringify(tokenizer)),
    'tokenizer_config.json': Buffer.from('{}'),
  })

  it('have bytes for their tokens as well', () => {
    const tokenizer = loadTokenizer(files(json), 'llama-2')
    expect(Buffer.concat([1, 2, 3, 4].map((id) => tokenizer.tokenBytes(id))).toString()).toBe(' hiü')
    expect(tokenizer.decode([1, 2, 3, 4])).toBe('hiü')
  })

  it('another decoder is refused by name', () => {
    const wordPiece = { ...json, decoder: { type: 'WordPiece' } }
    expect(() => loadTokenizer(files(wordPiece), 'bert')).toThrow(
      /bert\/tokenizer.json: decoder WordPiece is not supported; supported: ByteLevel/,
    )
  })

  it('missing and broken files are said by name', () => {
    expect(() => loadTokenizer({}, 'm')).toThrow(/m: has no tokenizer.json/)
    expect(() => loadTokenizer({ ...files(json), 'tokenizer.json': Buffer.from('{') }, 'm')).toThrow(
      /m\/tokenizer.json: is not valid JSON/,
    )
    const { model: _, ...rest } = json
    expect(() => loadTokenizer(files(rest), 'm')).toThrow(/m\/tokenizer.json: cannot be used/)
  })
})
