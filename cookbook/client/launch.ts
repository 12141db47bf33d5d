// What `twinkle serve` says to a configuration that it will not start with. What a configuration means is not known here.

import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url))

/** Null when it starts; it is ended again then. */
export function refusal(config: URL): Promise<string | null> {
  const args = ['--import', 'tsx', MAIN, 'serve', '--config', fileURLToPath(config), '--port', '0']
  const server = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  return new Promise((resolve, reject) => {
    let said = ''
    let isReady = false
    server.stderr.setEncoding('utf8').on('data', (text: string) => {
      said += text
    })
    server.stdout.setEncoding('utf8').on('data', (text: string) => {
      isReady ||= text.includes('ready at')
      if (isReady) server.kill('SIGTERM')
    })
    server.once('error', reject)
    server.once('close', () => resolve(isReady ? null : said.trim()))
  })
}
