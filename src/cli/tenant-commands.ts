// The commands about tenants and their keys, as the command line knows them. What they do is loaded when they run.

import type { Command } from 'commander'
import { LIMIT_FIELDS, LIMIT_NAMES, limitKey } from '../server/limit-fields.ts'

/** @param common Adds the options that every command on a state directory has. */
export function addTenantCommands(program: Command, common: (command: Command) => Command): void {
  addKeys(program, common)
  addTenants(program, common)
}

function addKeys(program: Command, common: (command: Command) => Command): void {
  const keys = program.command('keys').description('make, list and end API keys')
  common(keys.command('create').description('make a key; it is shown this once'))
    .requiredOption('--tenant <NAME>', 'who gets it; made when there is none of this name')
    .option('--label <TEXT>', 'what it is for')
    .option('--role <ROLE>', 'member, or admin: may read what belongs to all tenants', 'member')
    .option('--expires <TIME>', 'how long it is good, such as 30d (default: for ever)')
    .action(async (options) => (await import('./keys.ts')).createKey(options))
  common(keys.command('list').description('all keys, their state and when they were last used')).action(
    async (options) => (await import('./keys.ts')).listKeys(options),
  )
  common(keys.command('revoke <ID>').description('end a key now')).action(async (id, options) =>
    (await import('./keys.ts')).revokeKey(id, options),
  )
  common(keys.command('rotate <ID>').description('make another key in the place of one'))
    .option('--grace <TIME>', 'how long the old one stays good, such as 1h', '0s')
    .action(async (id, options) => (await import('./keys.ts')).rotateKey(id, options))
}

function addTenants(program: Command, common: (command: Command) => Command): void {
  const tenants = program.command('tenants').description('who may use a server, and how much of it')
  common(tenants.command('list').description('all tenants and what they use')).action(async (options) =>
    (await import('./tenants.ts')).listTenants(options),
  )
  common(tenants.command('show <NAME>').description('limits of a tenant and what it uses of them')).action(
    async (name, options) => (await import('./tenants.ts')).showTenant(name, options),
  )
  const set = common(tenants.command('set <NAME>').description('change the limits of a tenant'))
  set.option('--name <NAME>', 'what it is called from now on')
  for (const name of LIMIT_NAMES) {
    set.option(`--${limitKey(name).replaceAll('_', '-')} <N>`, LIMIT_FIELDS[name].help)
  }
  set
    .addHelpText('after', '\nA limit can be `none`, or `default`: what the configuration says.')
    .action(async (name, options) => (await import('./tenants.ts')).setTenant(name, options))
}
