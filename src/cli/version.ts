// `twinkle version`: what runs here, for a bug report.

import { MANIFEST } from '../server/manifest.ts'

export function version(options: { readonly json?: boolean }): void {
  const facts = {
    version: MANIFEST.version,
    node: process.versions.node,
    platform: process.platform,
    architecture: process.arch,
  }
  const line = `twinkle ${facts.version} (Node ${facts.node}, ${facts.platform} ${facts.architecture})`
  process.stdout.write(`${options.json ? JSON.stringify(facts) : line}\n`)
}
