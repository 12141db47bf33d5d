// The parts of the command line that need no server: each is asked what a user would see.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { missing } from '../formats/format-error.ts'
import { loadConfig } from '../server/config.ts'
import { CommandError, printed } from './complaint.ts'
import { embeddedModel, examine, nodeVersion, stateDir } from './doctor.ts'
import { createLog } from './log.ts'
import { portComplaint, portProblem } from './port.ts'
import { createProgram } from './program.ts'
import { findPython } from './python.ts'
import { readyBlock } from './ready.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'twinkle-cli-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

describe('an error', () => {
  it('is one line with the next step, and no stack trace', () => {
    expect(printed(new CommandError('Port 1 is in use.', 'Choose another.'), false)).toBe(
      'Error: Port 1 is in use. Next: Choose another.',
    )
    expect(printed(new Error('two\nlines'), false)).toBe(
      'Error: two lines. Next: Run it again with --debug to see where this happened.',
    )
  })

  it('of a model that is not there says where to look', () => {
    expect(printed(missing('/m', 'no such model'), false)).toBe(
      'Error: /m: no such model. Next: Check the path behind --model.',
    )
  })

  it('of a package that a client is installed without names it, and how to add it', () => {
    const code = 'ERR_MODULE_NOT_FOUND'
    const error = Object.assign(new Error("Cannot find package 'koa' imported from /app/dist/server/app.js"), { code })
    expect(printed(error, false)).toMatch(/^Error: The optional package koa@.* Next: Install it with `npm install koa@/)
  })

  it('has its stack trace with --debug', () => {
    expect(printed(new Error('why'), true)).toMatch(/\n {4}at /)
  })
})

describe('the ready block', () => {
  const facts = { url: 'http://0.0.0.0:81', models: ['a', 'b'], stateDir: '/s', hasKeys: false, version: '1' }

  it('has the address in its first line, and lines to copy for an unmodified script', () => {
    const [first, ...rest] = readyBlock(facts).split('\n')
    expect(first).toContain('http://0.0.0.0:81')
    expect(rest.join('\n')).toContain('export TINKER_BASE_URL=http://127.0.0.1:81')
    expect(rest.join('\n')).toContain('export HF_ENDPOINT=http://127.0.0.1:81')
    expect(rest.join('\n')).toContain('export TINKER_API_KEY=tml-local')
  })

  it('invents no key where keys are configured', () => {
    expect(readyBlock({ ...facts, hasKeys: true })).not.toContain('tml-local')
  })
})

describe('ports', () => {
  it('are known to be used before anything is loaded', async () => {
    const holder = createServer().listen(0, '127.0.0.1')
    await new Promise((resolve) => holder.once('listening', resolve))
    const { port } = holder.address() as AddressInfo
    expect(await portProblem('127.0.0.1', port)).toBe('EADDRINUSE')
    expect(portComplaint('127.0.0.1', port, 'EADDRINUSE').message).toContain(String(port))
    await new Promise((resolve) => holder.close(resolve))
    expect(await portProblem('127.0.0.1', port)).toBeNull()
    expect(await portProblem('127.0.0.1', 0)).toBeNull()
  })
})

describe('doctor', () => {
  it('finds nothing missing on the machine that runs the tests', async () => {
    const { config } = await loadConfig({ cwd: folder, flags: { port: 0 } })
    const checks = await examine(config)
    expect(checks.filter((check) => check.status === 'missing')).toEqual([])
    expect(checks.find((check) => check.name === 'onnxruntime-node')?.status).toBe('ok')
    expect(checks.find((check) => check.name === 'twinkle/tiny')?.found).toBe('served by backend transformers')
  })

  it('finds a backend’s module that cannot be loaded', async () => {
    const { config } = await loadConfig({ cwd: folder, flags: { port: 0, backends: './absent.mjs' } })
    const check = (await examine(config)).find(({ name }) => name === 'backends')
    expect(check).toMatchObject({
      status: 'missing',
      found: expect.stringMatching(/absent\.mjs cannot be loaded/),
    })
  })

  it('says what is missing and how to add it', async () => {
    expect(nodeVersion('20.18.9', '20.19')).toMatchObject({ status: 'missing', next: 'Install Node 20.19 or newer.' })
    expect(nodeVersion('22.0.0', '20.19').status).toBe('ok')
    expect(embeddedModel(folder)).toMatchObject({ status: 'missing', found: `config.json is not in ${folder}` })
    writeFileSync(join(folder, 'file'), '')
    expect((await stateDir(join(folder, 'file', 'state'))).status).toBe('missing')
    expect((await stateDir(join(folder, 'new', 'state'))).found).toContain('will be made')
  })

  it('says in a sentence why a PostgreSQL database cannot be used, without its password', async () => {
    const database = `postgres://anna:secret@localhost/twinkle?host=${folder}`
    const { config } = await loadConfig({ cwd: folder, flags: { port: 0, database } })
    const checks = await examine(config)
    const sentence = /postgres:\/\/anna@localhost\/twinkle cannot be opened: connect ENOENT/
    expect(checks.find(({ name }) => name === 'database')).toMatchObject({
      status: 'missing',
      found: expect.stringMatching(sentence),
    })
    expect(JSON.stringify(checks)).not.toMatch(/secret/)
  })

  it('takes no Python that only looks like one', async () => {
    const shim = join(folder, 'python3')
    writeFileSync(shim, '#!/bin/sh\nexit 127\n', { mode: 0o755 })
    const old = join(folder, 'python-old')
    writeFileSync(old, '#!/bin/sh\necho 3.9.2\n', { mode: 0o755 })
    const good = join(folder, 'python-good')
    writeFileSync(good, '#!/bin/sh\necho 3.12.1\n', { mode: 0o755 })
    expect(await findPython([3, 11], [shim, old, join(folder, 'none')])).toBeNull()
    expect(await findPython([3, 11], [shim, old, good])).toEqual({ command: good, version: '3.12.1' })
  })
})

describe('the log', () => {
  it('is JSON for machines and one short line for people', () => {
    const lines: string[] = []
    const write = (text: string) => lines.push(text)
    createLog('info', { write }).info({ status: 200 }, 'answered')
    createLog('warn', { write }).info('not shown')
    createLog('info', { write, isTTY: true }).info({ status: 200 }, 'answered')
    expect(lines).toHaveLength(2)
    expect(JSON.parse(lines[0]!)).toMatchObject({ level: 30, status: 200, msg: 'answered' })
    expect(lines[1]).toMatch(/answered.*status=200/)
  })
})

describe('the program', () => {
  function run(...words: string[]): Promise<string> {
    let output = ''
    const program = createProgram().exitOverride()
    const write = (text: string) => {
      output += text
    }
    for (const command of [program, ...program.commands]) {
      command.exitOverride().configureOutput({ writeOut: write, writeErr: write })
    }
    return program.parseAsync(['node', 'twinkle', ...words]).then(
      () => output,
      () => output,
    )
  }

  it('lists its commands, and the settings of serve with their defaults', async () => {
    expect(await run('--help')).toMatch(/serve[\s\S]*models[\s\S]*doctor[\s\S]*version/)
    expect(await run('serve', '--help')).toMatch(/--port <N>[\s\S]*--state-dir <DIR>[\s\S]*--model <NAME=REF>/)
    expect(await run('serve', '--help')).not.toContain('--keys')
  })

  it.each([
    [['sevre'], 'serve'],
    [['serve', '--prot', '1'], '--port'],
  ])('answers %j with what was probably meant', async (words, meant) => {
    expect(await run(...words)).toContain(`Did you mean ${meant}?`)
  })
})
