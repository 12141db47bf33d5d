// The commands and their options. The flags of `serve` come from the table of settings; what a command does is loaded
// only when it runs, so that help is instant.

import { Command, Option } from 'commander'
import { FIELDS, type Field, flagOf, SETTINGS, type Setting } from '../server/config-fields.ts'
import { MANIFEST } from '../server/manifest.ts'
import { addAdapterCommands } from './adapter-commands.ts'
import { addTenantCommands } from './tenant-commands.ts'

const CONFIG = ['--config <FILE>', 'settings from a YAML file'] as const
const JSON_FLAG = ['--json', 'print JSON for machines'] as const
const URL_OPTION = [
  '--url <URL>',
  'address of the server (default: TINKER_BASE_URL, then http://127.0.0.1:8000)',
] as const

export function createProgram(): Command {
  const program = new Command('twinkle')
    .description('Self-hosted fine-tuning for Tinker scripts.')
    .version(MANIFEST.version)
    .option('--debug', 'show the stack trace of an error')
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'Error: ')) })
    .showHelpAfterError('Next: see twinkle --help, or twinkle COMMAND --help.')
    .addHelpText('after', '\nStart here: twinkle serve')

  const serve = program.command('serve').description('serve base models for training and sampling')
  addSettings(serve, SETTINGS)
  serve
    .option(...CONFIG)
    .addHelpText('after', SERVE_NOTES)
    .action(async (options) => (await import('./serve.ts')).serve(settingsOf(options)))

  const models = program.command('models').description('list the models of a running server')
  addSettings(models, ['models'])
  models
    .option(...URL_OPTION)
    .option('--local', 'list what `twinkle serve` would serve instead')
    .option(...CONFIG)
    .option(...JSON_FLAG)
    .action(async (options) => (await import('./models.ts')).models(settingsOf(options)))

  const doctor = program.command('doctor').description('say what this machine can do, and what is missing')
  addSettings(doctor, ['host', 'port', 'stateDir'])
  doctor
    .option('--url <URL>', 'ask a running server what is wrong with it instead')
    .option(...CONFIG)
    .option(...JSON_FLAG)
    .action(async (options) => (await import('./doctor.ts')).doctor(settingsOf(options)))

  program
    .command('config')
    .description('look at a configuration file')
    .command('check <FILE>')
    .description("say what a server would take from it, in the short form or in Twinkle's own")
    .action(async (file: string) => (await import('./config.ts')).checkConfig(file))

  const state = program.command('state').description('look into a state directory')
  const show = state.command('show').description('say what it holds, and how long what is kept')
  addSettings(show, ['stateDir'])
  show
    .option(...CONFIG)
    .option(...JSON_FLAG)
    .action(async (options) => (await import('./state.ts')).showState(settingsOf(options)))

  program
    .command('ps')
    .description('show what a running server does: runs, queue, samplers, memory')
    .option(...URL_OPTION)
    .option('--once', 'print it once, also on a terminal')
    .option(...JSON_FLAG)
    .action(async (options) => (await import('./ps.ts')).ps(options))

  addAdapterCommands(program, URL_OPTION)

  addTenantCommands(program, (command) => {
    addSettings(command, ['stateDir'])
    return command.option(...CONFIG).option(...JSON_FLAG)
  })

  const datum = program.command('datum').description('look at training data')
  const showData = datum
    .command('show')
    .description('show tokens, text, targets, weights and advantages side by side, and mark what is commonly wrong')
    .argument('<FILE|ID>', 'datums as JSON or JSON lines; or a request of the journal, or a model: its newest pass')
  addSettings(showData, ['stateDir'])
  showData
    .option('--model <NAME>', 'whose tokenizer: a served model, a folder, a .gguf file or hf:org/name')
    .option('--datum <N>', 'only this one, from 0')
    .option('--datums <N>', 'how many at most (default: 3)')
    .option('--rows <N>', 'rows of each at most (default: 40)')
    .option(...CONFIG)
    .option(...JSON_FLAG)
    .action(async (from, { model, ...options }) =>
      (await import('./datum.ts')).showDatum(from, { ...options, ...(model !== undefined && { tokenizer: model }) }),
    )

  program
    .command('version')
    .description('print the version')
    .option(...JSON_FLAG)
    .action(async (options) => (await import('./version.ts')).version(options))
  return program
}

const SERVE_NOTES = `
Every setting can also be an environment variable (--state-dir is TWINKLE_STATE_DIR)
or a key of the file behind --config (state_dir). A flag wins over a variable, a
variable over the file. API keys are made by \`twinkle keys create\`, or set by
TWINKLE_KEYS or \`keys\` in the file.

Examples:
  twinkle serve
  twinkle serve --port 0 --model org/mine=./my-model
  twinkle serve --model hf:HuggingFaceTB/SmolLM2-135M-Instruct`

function addSettings(command: Command, settings: readonly Setting[]): void {
  for (const setting of settings) {
    const field: Field<unknown> = FIELDS[setting]
    const flag = flagOf(setting)
    if (flag === null) continue
    const value = field.placeholder === undefined ? '' : ` <${field.placeholder}>`
    const option = new Option(`${flag}${value}`, helpOf(setting))
    if (setting === 'models') option.argParser((next: string, before?: string[]) => [...(before ?? []), next])
    command.addOption(option)
  }
}

function helpOf(setting: Setting): string {
  const { help, fallback } = FIELDS[setting] as Field<unknown>
  const isPlain = typeof fallback === 'string' || (typeof fallback === 'number' && fallback < 2 ** 20)
  return isPlain ? `${help} (default: ${fallback})` : help
}

/** Commander names an option after its flag; the one flag that is not called like its setting is `--model`. */
function settingsOf<T extends object>({ model, ...options }: { model?: unknown } & T): T {
  return (model === undefined ? options : { ...options, models: model }) as T
}
