import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ConfigError, type ConfigInput, checkReach, loadConfig } from './config.ts'
import { EMBEDDED_MODEL, fileKeyOf, flagOf, variableOf } from './config-fields.ts'
import { shownDatabase } from './config-values.ts'
import { NO_LIMITS } from './services/limits.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'twinkle-config-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

function yaml(content: string): string {
  writeFileSync(join(folder, 'twinkle.yaml'), content)
  return 'twinkle.yaml'
}

/** What a configuration is refused with: the sentence and the next step. */
async function refusal(input: ConfigInput): Promise<string> {
  const error = await loadConfig({ cwd: folder, ...input }).catch((reason: unknown) => reason)
  expect(error).toBeInstanceOf(ConfigError)
  return `${(error as ConfigError).message} ${(error as ConfigError).next}`
}

it('shows of the address of a database what is no secret', () => {
  expect(shownDatabase('sqlite')).toBe('sqlite')
  const address = 'postgresql://anna:s3cret@db.example.org:6432/twinkle?sslmode=require&password=s3cret'
  expect(shownDatabase(address)).toBe('postgresql://anna@db.example.org:6432/twinkle')
})

describe('loadConfig', () => {
  it('serves the embedded model on the loopback address when nothing is given', async () => {
    const { config, sources } = await loadConfig({ cwd: folder })
    expect(config).toMatchObject({ host: '127.0.0.1', port: 8000, backend: 'transformers', threads: 0, keys: [] })
    expect(config.models).toEqual([{ name: 'twinkle/tiny', path: EMBEDDED_MODEL.path }])
    expect(config.stateDir).toBe(join(folder, '.twinkle'))
    expect(config.bodyLimitBytes).toBe(67_108_864)
    expect(sources.port).toBe('default')
  })

  it('takes a flag before the environment before the file, and says which', async () => {
    const file = yaml('port: 1001\nhold_seconds: 11\nlog_level: debug')
    const env = { TWINKLE_PORT: '1002', TWINKLE_HOLD_SECONDS: '12' }
    const { config, sources } = await loadConfig({ cwd: folder, file, env, flags: { port: '1003' } })
    expect([config.port, config.holdSeconds, config.logLevel]).toEqual([1003, 12, 'debug'])
    expect([sources.port, sources.holdSeconds, sources.logLevel]).toEqual([
      '--port',
      'TWINKLE_HOLD_SECONDS',
      'twinkle.yaml',
    ])
  })

  it('takes port 0, and an empty variable as absent', async () => {
    const { config } = await loadConfig({ cwd: folder, env: { TWINKLE_HOST: '' }, flags: { port: 0 } })
    expect([config.host, config.port]).toEqual(['127.0.0.1', 0])
  })

  it('reads relative paths of a file from the folder of the file', async () => {
    yaml('state_dir: state\nmodels:\n  org/mine: models/mine\nbackend: ./own.mjs')
    const { config } = await loadConfig({ cwd: tmpdir(), file: join(folder, 'twinkle.yaml') })
    expect(config.stateDir).toBe(join(folder, 'state'))
    expect(config.models).toEqual([{ name: 'org/mine', path: join(folder, 'models/mine') }])
    expect(config.backend).toBe(join(folder, 'own.mjs'))
  })

  it('lets a model name its backend among those that modules register', async () => {
    yaml('backends: [./own.mjs, some-package]\nmodels:\n  org/mine: {path: mine, backend: bigram}\n  org/other: other')
    const { config } = await loadConfig({ cwd: tmpdir(), file: join(folder, 'twinkle.yaml') })
    expect(config.backends).toEqual([join(folder, 'own.mjs'), 'some-package'])
    expect(config.backend).toBe('transformers')
    expect(config.models).toEqual([
      { name: 'org/mine', path: join(folder, 'mine'), backend: 'bigram' },
      { name: 'org/other', path: join(folder, 'other') },
    ])
  })

  it('adds the models of flags to the others, and lets them replace one of the same name', async () => {
    const flags = { models: ['org/a=./a', 'hf:org/hub@main', 'models/b.gguf', 'twinkle/tiny=other'] }
    const { config } = await loadConfig({ cwd: folder, flags })
    expect(config.models).toEqual([
      { name: 'twinkle/tiny', path: join(folder, 'other') },
      { name: 'org/a', path: join(folder, 'a') },
      { name: 'org/hub', path: 'hf:org/hub@main' },
      { name: 'b', path: join(folder, 'models/b.gguf') },
    ])
  })

  it('keeps keys as hashes only', async () => {
    const hash = `sha256:${'ab'.repeat(32)}`
    const { config } = await loadConfig({ cwd: folder, env: { TWINKLE_KEYS: `abc, ${hash}` } })
    expect(config.keys).toEqual(['sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad', hash])
  })

  it.each([
    ['port: 70000', /port in twinkle\.yaml cannot be 70000.*from 0 to 65535/],
    ['port: 80.5', /port in twinkle\.yaml cannot be 80\.5/],
    ['open: maybe', /open in twinkle\.yaml cannot be "maybe".*true or false/],
    ['log_level: worn', /one of trace, .*did you mean warn\?/],
    ['prot: 8000', /unknown key `prot` \(did you mean port\?\).*The keys are host, port/],
    ['body_limit_bytes: 1TB', /body_limit_bytes in twinkle\.yaml.*KiB, MiB or GiB/],
    ['hold_seconds: 60', /from 1 to 44/],
    ['backend: megatron', /no backend megatron.*transformers, the path of a module/],
    ['models: {a: {path: x, backend: transfomers}}', /no backend transfomers \(did you mean transformers\?\)/],
    ['models: {a: {path: x, bakend: transformers}}', /not bakend/],
    ['models: []', /No models are configured/],
    ['models: [{name: a, paht: b}]', /not paht/],
    ['models: [{name: "a/b/c", path: d}]', /a model name such as org\/name.*"a\/b\/c"/],
    ['models: ["a=x", "a=y"]', /a is there twice/],
    ['models: ["a=hf:nothing"]', /hf:org\/name/],
    ['keys: [""]', /keys in twinkle\.yaml cannot be a key/],
    ['keys: ["sha256:123"]', /64 hexadecimal digits/],
    ['applications:\n  - import_path: nothing', /import_path in twinkle\.yaml cannot be "nothing"/],
    ['use_megatron: true', /use_megatron in twinkle\.yaml cannot be true/],
    ['server_type: tinker\nport: 1', /unknown key `port`/],
    ['database: mysql://host/name', /database in twinkle\.yaml cannot be this address.*sqlite, or postgres:\/\/user/],
    ['database: postgres://host', /postgres:\/\/user:password@host\/name/],
    ['a: [', /not valid YAML/],
    ['just words', /holds no settings/],
  ])('refuses %j in words', async (content, sentence) => {
    expect(await refusal({ file: yaml(content) })).toMatch(sentence)
  })

  it('never shows a key or the password of a database in a refusal', async () => {
    expect(await refusal({ file: yaml('keys: ["sha256:secret"]') })).not.toMatch(/secret/)
    expect(await refusal({ env: { TWINKLE_DATABASE: 'mysql://anna:secret@host/name' } })).not.toMatch(/secret/)
  })

  it('names a configuration file that is not there', async () => {
    expect(await refusal({ file: 'gone.yaml' })).toMatch(/gone\.yaml does not exist/)
  })

  it.each(['0.0.0.0', '::', '192.168.1.5', 'example.org'])(
    'lets nobody serve on host %s without keys',
    async (host) => {
      const { config } = await loadConfig({ cwd: folder, flags: { host } })
      expect(() => checkReach(config, true)).toThrow(/can be reached from other machines/)
      checkReach(config, false)
    },
  )

  it('serves beyond this machine without keys when told that it is open', () => {
    checkReach({ host: '0.0.0.0', open: true }, true)
    checkReach({ host: '127.1.2.3', open: false }, true)
  })
})

it('names a setting in all its places by one rule', () => {
  expect([flagOf('stateDir'), variableOf('stateDir'), fileKeyOf('stateDir')]).toEqual([
    '--state-dir',
    'TWINKLE_STATE_DIR',
    'state_dir',
  ])
  expect(flagOf('models')).toBe('--model')
  expect(flagOf('keys')).toBeNull()
})

describe('limits', () => {
  it('reads limits of tenants from a file or a variable, and names the one that it does not know', async () => {
    const file = yaml('limits:\n  storage_bytes: 10GiB\n  adapters: 4\n  queued_bytes: none\n  weight: 0.5')
    const { config } = await loadConfig({ cwd: folder, file })
    expect(config.limits).toEqual({ ...NO_LIMITS, storageBytes: 10 * 2 ** 30, adapters: 4, weight: 0.5 })
    const env = { TWINKLE_LIMITS: 'concurrent_samples=8, adapters=2' }
    const byVariable = await loadConfig({ cwd: folder, file, env })
    expect(byVariable.config.limits).toEqual({ ...NO_LIMITS, concurrentSamples: 8, adapters: 2 })
    expect(await refusal({ env: { TWINKLE_LIMITS: 'adaptors=2' } })).toMatch(/adaptors is none of them.*adapters/)
    expect(await refusal({ file: yaml('limits: { adapters: -1 }') })).toMatch(
      /adapters as a whole number from 1, or none/,
    )
    expect(await refusal({ file: yaml('limits: { weight: none }') })).toMatch(/weight as a number from 0.01 to 100/)
  })
})

describe('keep', () => {
  const read = async (keep: string) => (await loadConfig({ env: { TWINKLE_KEEP: keep } })).config.keep

  it('changes what it names and leaves the rest', async () => {
    const keep = await read('rows=7d,unfetched_answers=36h')
    expect(keep).toMatchObject({ rows: 7 * 86_400_000, unfetchedAnswers: 36 * 3_600_000, calls: 3_600_000 })
  })

  it.each([
    ['row=7d', /row is none of them.*rows/],
    ['rows=0s', /rows as a duration of at least 1s/],
    ['rows=7', /rows as a duration/],
    ['tidy_every=30d', /tidy_every as a duration of at most 20d/],
  ])('refuses %s', async (keep, next) => {
    await expect(read(keep)).rejects.toMatchObject({ next: expect.stringMatching(next) })
  })
})
