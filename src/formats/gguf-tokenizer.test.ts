import * as fs from 'node:fs'
import * as path from 'node:path'
import { describe, expect, it } from 'vitest'
import { loadChatTemplate } from './chat-template.ts'
import { openModelSource } from './model-folder.ts'
import { BOOL, I32S, STRING, STRINGS, U32, writeGguf } from './testing/gguf-writer.ts'
import { tinyGgufTensors, tinyMetadata } from './testing/tiny-gguf.ts'
import { loadTokenizer } from './tokenizer.ts'

type Changes = Parameters<typeof tinyMetadata>[0]

function filesOf(changes: Changes, vocabulary = 64): Record<string, Uint8Array> {
  const tensors = tinyGgufTensors().map((tensor) =>
    tensor.name === 'token_embd.weight'
      ? { ...tensor, shape: [vocabulary, 32], bytes: new Uint8Array(vocabulary * 32 * 4) }
      : tensor,
  )
  return openModelSource(writeGguf(tinyMetadata(changes), tensors)).tokenizerFiles()
}

/** The vocabulary of a golden tokenizer as a GGUF converter stores it. */
function convert(model: string, pre: string): { changes: NonNullable<Changes>; size: number } {
  const json = JSON.parse(fs.readFileSync(path.join(import.meta.dirname, 'goldens', model, 'tokenizer.json'), 'utf8'))
  const tokens = Object.entries<number>(json.model.vocab).sort(([, a], [, b]) => a - b)
  const special = new Set(json.added_tokens.map(({ id }: { id: number }) => id))
  return {
    size: tokens.length,
    changes: {
      'tokenizer.ggml.pre': [STRING, pre],
      'tokenizer.ggml.tokens': [STRINGS, tokens.map(([token]) => token)],
      'tokenizer.ggml.token_type': [I32S, tokens.map(([, id]) => (special.has(id) ? 3 : 1))],
      'tokenizer.ggml.merges': [STRINGS, json.model.merges.map((pair: string[]) => pair.join(' '))],
    },
  }
}

describe.each([
  ['llama-tied', 'smollm'],
  ['qwen2-tied', 'qwen2'],
])('a tokenizer that went through GGUF (%s as %s)', (model, pre) => {
  const { changes, size } = convert(model, pre)
  const tokenizer = loadTokenizer(filesOf(changes, size), model)
  const golden = JSON.parse(
    fs.readFileSync(path.join(import.meta.dirname, 'goldens', model, 'tokenization.json'), 'utf8'),
  )

  it.each(golden.encode as { text: string; ids: number[]; decoded: string }[])(
    'text $text',
    ({ text, ids, decoded }) => {
      expect(tokenizer.encode(text)).toEqual(ids)
      expect(tokenizer.decode(ids)).toBe(decoded)
    },
  )
})

describe('a start token', () => {
  const text = 'a1b22'
  const encode = (changes: NonNullable<Changes>) => {
    const { changes: vocabulary, size } = convert('llama-tied', 'llama-bpe')
    return loadTokenizer(filesOf({ ...vocabulary, ...changes }, size), 'x').encode(text)
  }

  it('comes first where the file says so, or where its kind has one and it says nothing', () => {
    expect(encode({ 'tokenizer.ggml.add_bos_token': [BOOL, true] })[0]).toBe(0)
    expect(encode({ 'tokenizer.ggml.add_bos_token': undefined })[0]).toBe(0)
    expect(encode({ 'tokenizer.ggml.add_bos_token': [BOOL, false] })[0]).not.toBe(0)
  })
})

describe('the files', () => {
  const json = (files: Record<string, Uint8Array>, name: string) => JSON.parse(new TextDecoder().decode(files[name]))

  it('carry chat template and special tokens', () => {
    const files = filesOf({ 'tokenizer.chat_template': [STRING, '{{ bos_token }}{{ messages[0].content }}'] })
    expect(json(files, 'tokenizer_config.json')).toMatchObject({ bos_token: '<|end|>', eos_token: '<|stop|>' })
    expect(loadChatTemplate(files, 'x')?.render([{ role: 'user', content: 'hi' }])).toBe('<|end|>hi')
    expect(json(files, 'config.json')).toMatchObject({ model_type: 'llama', vocab_size: 64, eos_token_id: 2 })
    expect(json(files, 'generation_config.json')).toMatchObject({ bos_token_id: 0, eos_token_id: 2 })
  })

  it('a user-defined token is cut out of text but stays in it', () => {
    const types = Array.from({ length: 64 }, (_, id) => (id < 3 ? 3 : id === 3 ? 4 : 1))
    const tokenizer = loadTokenizer(filesOf({ 'tokenizer.ggml.token_type': [I32S, types] }), 'x')
    expect(tokenizer.encode('t0<|stop|>')).toEqual([3, 2])
    expect(tokenizer.decode([3, 2], { skipSpecialTokens: true })).toBe('t0')
  })

  it.each([
    [
      'special token outside of the vocabulary',
      { 'tokenizer.ggml.padding_token_id': [U32, 64] },
      /"tokenizer.ggml.padding_token_id" is 64, outside/,
    ],
    ['types of other tokens', { 'tokenizer.ggml.token_type': [I32S, [1]] }, /has 64 tokens but 1 token types/],
    ['the same token twice', { 'tokenizer.ggml.tokens': [STRINGS, new Array(64).fill('x')] }, /lists a token twice/],
  ] as [string, NonNullable<Changes>, RegExp][])('%s', (_, changes, message) => {
    expect(() => filesOf(changes)).toThrow(message)
  })
})
