// Starts the server of this folder: `twinkle serve` with the server_config.yaml beside this file. Further arguments are those
// of the command, for instance `npx tsx server.ts --port 8010`. Ctrl-C ends it.

import { fileURLToPath } from 'node:url'

process.argv.splice(2, 0, 'serve', '--config', fileURLToPath(new URL('server_config.yaml', import.meta.url)))
await import('../../../../src/cli/main.ts')
