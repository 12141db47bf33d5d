// Every block of code in the README and in the cookbook's pages does what it says: programs are cut out and run, `twinkle`
// commands run one after the other in a folder as a reader would have it, and the few lines that cannot run here are accounted
// for by name. A new line that is neither fails.

import { existsSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ServiceClient } from '../src/client/tinker/index.ts'
import { BLOCKS, COMMANDS, type CommandLine, PAGES, text, twinkleArguments } from './testing/pages.ts'
import { ENVIRONMENT_MS, NO_PYTHON, pythonPrograms } from './testing/python.ts'
import { type Program, ROOT, serve, Terminal, tsx } from './testing/terminal.ts'

const LIMIT = { timeout: 120_000 }
const KEY = 'tml-local'

/** Lines that do not run here, and where what they do is run. */
const ELSEWHERE: readonly (readonly [line: RegExp, file: string, says: string])[] = [
  [/^npm run demo$/, '.ci/run', 'npm run demo'],
  [/^npm test$/, '.ci/run', 'npm test'],
  [/^npm run crashtest$/, 'scripts/crashtest/trial.test.ts', 'describe'],
  // The environments that the programs below and the scripts run in.
  [/^pip install tinker==0\.38\.0$/, 'openapi/conformance/sdk/requirements/sdk-0.38.0.txt', 'tinker==0.38.0'],
  [/^export TINKER_/, 'cookbook/testing/terminal.ts', 'TINKER_BASE_URL'],
  // A download, and a database of one's own.
  [/ serve --model hf:/, 'src/formats/hub-download.test.ts', 'hf:'],
  [/ serve --database postgres:\/\/\.\.\.$/, 'src/server/store/postgres.test.ts', 'describe'],
]
const elsewhere = ({ line }: CommandLine) => ELSEWHERE.find(([pattern]) => pattern.test(line))
/** Scripts of the cookbook are run by the test in their folder. */
const scriptOf = ({ line }: CommandLine) => /^(?:python|npx tsx) (cookbook\/\S+\.(?:py|ts))$/.exec(line)?.[1]

it('finds the pages, and programs in languages that are run; what is no program is marked as text', () => {
  expect(PAGES).toContain('cookbook/README.md')
  expect(BLOCKS.length).toBeGreaterThanOrEqual(9)
  expect([...new Set(BLOCKS.map(({ language }) => language))].sort()).toEqual(['python', 'sh', 'ts'])
})

describe('commands', () => {
  const others = COMMANDS.filter((command) => twinkleArguments(command) === null || elsewhere(command))

  it.for(others)('$page: $line', (command) => {
    const script = scriptOf(command)
    if (script === undefined) {
      const found = elsewhere(command)
      expect(found, `${command.line}: say under ELSEWHERE where this is run`).toBeDefined()
      const [, file, says] = found!
      return expect(text(file)).toContain(says)
    }
    expect(existsSync(join(ROOT, script))).toBe(true)
    const folder = dirname(script)
    const tests = readdirSync(join(ROOT, folder)).filter((file) => file.endsWith('.test.ts'))
    expect(tests.map((file) => text(join(folder, file))).join('')).toContain(basename(script).replace(/\.\w+$/, ''))
  })

  const lines = COMMANDS.flatMap((command) => (elsewhere(command) ? [] : [twinkleArguments(command) ?? []])).filter(
    (words) => words.length > 0,
  )

  it('twinkle: one after the other, from a fresh state on', LIMIT, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'twinkle-reader-'))
    const terminal = new Terminal()
    try {
      symlinkSync(join(ROOT, 'models/tiny'), join(folder, 'my-model'))
      for (const part of ['cookbook', 'models']) symlinkSync(join(ROOT, part), join(folder, part))
      const env: Record<string, string> = { TWINKLE_STATE_DIR: join(folder, 'state'), TINKER_API_KEY: KEY }
      const args = ['--import', import.meta.resolve('tsx'), join(ROOT, 'src/cli/main.ts')]
      const twinkle = (more: readonly string[]): Program => ({
        command: process.execPath,
        args: [...args, ...more],
        cwd: folder,
        env,
      })
      for (const words of lines) {
        if (words[0] === 'serve') {
          await terminal.stop()
          await terminal.start(twinkle(words))
          continue
        }
        if (words.includes('./my-lora')) await writeAdapter(terminal, twinkle, env.TINKER_API_KEY!)
        const printed = await terminal.run(twinkle(words))
        expect(printed, words.join(' ')).not.toBe('')
        if (words[0] === 'keys') env.TINKER_API_KEY = /tml-\S+/.exec(printed)![0]
        if (words.includes('./my-lora')) expect(printed).toMatch(/tinker:\/\//)
      }
    } finally {
      await terminal.close()
      rmSync(folder, { recursive: true })
    }
  })
})

/** What a reader has from elsewhere: a LoRA adapter of the served model, as a PEFT folder. */
async function writeAdapter(terminal: Terminal, as: (args: readonly string[]) => Program, apiKey: string) {
  const service = new ServiceClient({ baseUrl: terminal.url, apiKey })
  const training = await service.createLoraTrainingClient({ baseModel: 'twinkle/tiny', rank: 4 })
  const { path } = await training.saveWeightsForSampler('mine')
  await service.close()
  await terminal.run(as(['adapters', 'export', path, './my-lora']))
}

describe('programs', () => {
  const terminal = new Terminal()
  const folder = mkdtempSync(join(tmpdir(), 'twinkle-pages-'))
  let python: Awaited<ReturnType<typeof pythonPrograms>>
  beforeAll(async () => {
    await terminal.start(serve())
    python = await pythonPrograms('sdk-0.38.0')
  }, ENVIRONMENT_MS)
  afterAll(async () => {
    await terminal.close()
    rmSync(folder, { recursive: true })
  })
  const programs = (language: string) => BLOCKS.filter((block) => block.language === language)

  it.for(programs('ts'))('$page, in TypeScript', LIMIT, async ({ code }) => {
    const file = join(folder, 'program.mts')
    const client = join(ROOT, 'src/client/tinker/index.ts')
    writeFileSync(file, code.replaceAll('twinkle-ts/tinker', client).replaceAll('http://127.0.0.1:8000', terminal.url))
    expectVerse(await terminal.run(tsx(file)))
  })

  it.for(programs('python'))('$page, in Python', LIMIT, async ({ code }, { skip }) => {
    if (python === null) return skip(NO_PYTHON)
    const file = join(folder, 'program.py')
    writeFileSync(file, code)
    const program = python(file)
    const env = { ...program.env, TINKER_API_KEY: KEY, HF_ENDPOINT: terminal.url }
    expectVerse(await terminal.run({ ...program, env }))
  })
})

/** Both programs train on a verse until the model continues it. */
function expectVerse(printed: string): void {
  const lines = printed.trim().split('\n')
  const losses = lines.slice(0, 20).map((line) => Number(line.split(' ')[1]))
  expect(lines).toHaveLength(21)
  expect(losses.at(-1)).toBeLessThan(losses[0]! / 10)
  expect(lines[20]).toContain('little star')
}
