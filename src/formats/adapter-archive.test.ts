import * as fs from 'node:fs'
import * as path from 'node:path'
import { pack } from 'tar-stream'
import { expect, it } from 'vitest'
import { unpackAdapter } from './adapter-archive.ts'
import { temporaryFolder } from './testing/temporary-folder.ts'

type Entry = Parameters<ReturnType<typeof pack>['entry']>[0] & { content?: string }
const CONFIG: Entry = { name: 'adapter_config.json', content: '{}' }
const WEIGHTS: Entry = { name: 'adapter_model.safetensors', content: 'weights' }

async function unpack(entries: readonly Entry[], maxBytes = 1000, change = (bytes: Buffer) => bytes): Promise<string> {
  const tar = pack()
  for (const { content, ...header } of entries) content === undefined ? tar.entry(header) : tar.entry(header, content)
  tar.finalize()
  const chunks: Buffer[] = []
  for await (const chunk of tar) chunks.push(chunk as Buffer)
  const folder = temporaryFolder()
  await unpackAdapter('upload', [change(Buffer.concat(chunks))], folder, maxBytes)
  return folder
}

const text = (folder: string, file: string) => fs.readFileSync(path.join(folder, file), 'utf8')

it("takes the adapter out of an archive as the hosted service's are", async () => {
  const folder = await unpack([CONFIG, WEIGHTS, { name: 'checkpoint_complete', content: '' }])
  expect(fs.readdirSync(folder).sort()).toEqual(['adapter_config.json', 'adapter_model.safetensors'])
  expect(text(folder, 'adapter_model.safetensors')).toBe('weights')
})

it('and out of a folder that was packed whole', async () => {
  const inside = [CONFIG, WEIGHTS].map((entry) => ({ ...entry, name: `./my-adapter/${entry.name}` }))
  const folder = await unpack([{ name: './my-adapter/', type: 'directory' }, ...inside])
  expect(text(folder, 'adapter_config.json')).toBe('{}')
})

it('writes nothing outside of its folder, whatever entries are called', async () => {
  const folder = await unpack([
    { name: '../../escaped.json', content: 'x' },
    { name: '/etc/escaped.json', content: 'x' },
    { ...CONFIG, name: '../../adapter_config.json' },
    WEIGHTS,
  ])
  expect(fs.readdirSync(folder).sort()).toEqual(['adapter_config.json', 'adapter_model.safetensors'])
  expect(fs.existsSync(path.join(folder, '../../adapter_config.json'))).toBe(false)
})

it.each([
  [
    'a link in place of a file',
    [{ name: 'adapter_config.json', type: 'symlink', linkname: '/etc/passwd' }, WEIGHTS],
    /holds no adapter_config/,
  ],
  [
    'two adapters',
    [CONFIG, WEIGHTS, { ...WEIGHTS, name: 'b/adapter_model.safetensors' }],
    /more than one adapter_model/,
  ],
  ['no weights', [CONFIG], /holds no adapter_model.safetensors/],
  ['too much', [CONFIG, { ...WEIGHTS, content: 'x'.repeat(2000) }], /more than 1000 bytes of adapter files/],
] as [string, Entry[], RegExp][])('refuses %s', async (_, entries, message) => {
  await expect(unpack(entries)).rejects.toThrow(message)
})

it('refuses what is no archive, and one that was cut off', async () => {
  await expect(unpack([CONFIG, WEIGHTS], 1000, () => Buffer.alloc(2048, 'no tar'))).rejects.toThrow(
    /upload: is no whole tar archive/,
  )
  await expect(unpack([CONFIG, WEIGHTS], 1000, (bytes) => bytes.subarray(0, 1600))).rejects.toThrow(
    /upload: is no whole tar archive/,
  )
})
