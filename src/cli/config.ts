// `twinkle config check FILE`: what a server would take from a configuration file, without starting one.

import { loadConfig } from '../server/config.ts'
import { SETTINGS } from '../server/config-fields.ts'
import { shownDatabase } from '../server/config-values.ts'

/** Throws ConfigError for a file that no server would start with. */
export async function checkConfig(file: string): Promise<void> {
  const { config, sources, notes } = await loadConfig({ file, env: process.env })
  const shown = { ...config, keys: `${config.keys.length} hashed`, database: shownDatabase(config.database) }
  const lines = SETTINGS.filter((setting) => sources[setting] !== 'default').map(
    (setting) => `${setting} = ${JSON.stringify(shown[setting])} (${sources[setting]})`,
  )
  process.stdout.write(`${[...lines, ...notes, `${file} can be served.`].join('\n')}\n`)
}
