// The commands about adapters, as the command line knows them. What they do is loaded when they run.

import { type Command, Option } from 'commander'

const DTYPES = ['F32', 'F16', 'BF16']

/** @param url The option that names a server. */
export function addAdapterCommands(program: Command, url: readonly [string, string]): void {
  const adapters = program.command('adapters').description('bring LoRA adapters in, and take them out')
  adapters
    .command('import <FOLDER>')
    .description('make a checkpoint of a PEFT folder, or of a .tar or .tar.gz of one')
    .requiredOption('--base-model <NAME>', 'the served model that it belongs to')
    .option('--name <NAME>', 'of the checkpoint', 'imported')
    .option('--ttl <SECONDS>', 'how long it is kept (default: until it is deleted)')
    .option(...url)
    .option('--json', 'print JSON for machines')
    .action(async (folder, options) => (await import('./adapters.ts')).importAdapter(folder, options))
  adapters
    .command('export <PATH> <FOLDER>')
    .description('write a checkpoint, tinker://..., as a PEFT folder')
    .option(...url)
    .action(async (path, folder, options) => (await import('./adapters.ts')).exportAdapter(path, folder, options))
  adapters
    .command('share <PATH>')
    .description('make a token that opens a checkpoint of yours, tinker://..., to whoever holds it')
    .option('--for <TIME>', 'how long it is good, such as 7d', '1d')
    .option(...url)
    .option('--json', 'print JSON for machines')
    .action(async (path, options) => (await import('./share.ts')).shareAdapter(path, options))
  adapters
    .command('merge <ADAPTER> <FOLDER>')
    .description('write the base model with an adapter merged in; ADAPTER is tinker://... or a PEFT folder')
    .option('--model <PATH>', 'the base model on this machine: a folder or a .gguf file (default: the server merges)')
    .addOption(new Option('--dtype <TYPE>', 'of the weights (default: as the base model has them)').choices(DTYPES))
    .option(...url)
    .action(async (adapter, folder, options) => (await import('./adapters.ts')).mergeAdapter(adapter, folder, options))
}
