#!/usr/bin/env node
// Compiles src/ to dist/: what tsc makes, and the generated JavaScript that tsc leaves alone.

import { spawnSync } from 'node:child_process'
import { chmodSync, copyFileSync, mkdirSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { setup } from './setup.mjs'

const ROOT = fileURLToPath(new URL('..', import.meta.url))

setup()
rmSync(join(ROOT, 'dist'), { recursive: true, force: true })
const compiler = join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc')
const { status } = spawnSync(process.execPath, [compiler, '-p', join(ROOT, 'tsconfig.build.json')], {
  stdio: 'inherit',
})
if (status !== 0) process.exit(1)

const generated = join(ROOT, 'src', 'generated')
const target = join(ROOT, 'dist', 'generated')
mkdirSync(target, { recursive: true })
for (const file of readdirSync(generated)) {
  if (file.endsWith('.js') || file.endsWith('.d.ts')) copyFileSync(join(generated, file), join(target, file))
}
chmodSync(join(ROOT, 'dist', 'cli', 'main.js'), 0o755)
