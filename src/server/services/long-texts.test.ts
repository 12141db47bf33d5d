import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { openModelSource } from '../../formats/model-folder.ts'
import { loadTokenizer } from '../../formats/tokenizer.ts'
import { LongTexts } from './long-texts.ts'

const files = openModelSource(join(import.meta.dirname, '../../../models/tiny')).tokenizerFiles()
const tokenizer = loadTokenizer(files, 'tiny')
const text = 'Who are you? 😀 '.repeat(500)

let texts: LongTexts
let asked: string[]
beforeEach(() => {
  asked = []
  texts = new LongTexts((model) => {
    asked.push(model)
    return model === 'tiny' ? files : null
  })
})
afterEach(() => texts.close())

const encode = (tenant: string, changes: { model?: string; text?: string } = {}) =>
  texts.encode(tenant, { model: 'tiny', text, addSpecialTokens: true, ...changes })

it('gives the tokens that the tokenizer gives, and reads its files once', async () => {
  const [one, other] = await Promise.all([encode('anna'), encode('bert', { text: 'short' })])
  expect([...one]).toEqual(tokenizer.encode(text))
  expect([...other]).toEqual(tokenizer.encode('short'))
  expect(asked).toEqual(['tiny'])
})

it('takes the texts of a tenant one after the other, and those of another in between', async () => {
  const order: string[] = []
  const done = (name: string, of: Promise<unknown>) => of.then(() => order.push(name))
  const three = ['a1', 'a2', 'a3'].map((name) => done(name, encode('anna')))
  await Promise.all([...three, done('b', encode('bert'))])
  expect(order.indexOf('b')).toBeLessThan(order.indexOf('a2'))
  expect(order.filter((name) => name !== 'b')).toEqual(['a1', 'a2', 'a3'])
})

it('fails what cannot be read, and goes on', async () => {
  await expect(encode('anna', { model: 'other' })).rejects.toThrow('could not be read')
  expect(await encode('anna')).toHaveLength(tokenizer.encode(text).length)
})

it('fails what its process was busy with when that ends, and starts another', async () => {
  await encode('anna', { text: 'short' })
  const left = encode('anna')
  await Promise.resolve()
  process.kill(texts.pid as number, 'SIGKILL')
  await expect(left).rejects.toThrow('the process for long texts ended with SIGKILL')
  expect(await encode('anna')).toHaveLength(tokenizer.encode(text).length)
})

it('says that the server ends when it does', async () => {
  await encode('anna', { text: 'short' })
  const left = encode('anna')
  await Promise.resolve()
  await texts.close()
  await expect(left).rejects.toMatchObject({ code: 'SHUTTING_DOWN' })
  await expect(encode('bert')).rejects.toMatchObject({ code: 'SHUTTING_DOWN' })
})
