#!/usr/bin/env node
// Packs the package as npm would publish it and looks at the result: what is in it, what publint and attw say of its
// exports, whether the command in it answers, quickly, and whether it works where it is installed (`package/installed.mjs`).
// Leaves nothing behind but dist/.

import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { checkInstalled } from './package/installed.mjs'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const BIN = join(ROOT, 'node_modules', '.bin')
const NEEDED = ['dist/index.js', 'dist/cli/main.js', 'dist/generated/tinker-proto.js', 'openapi/tinker.yaml', 'LICENSE']
const NEEDED_MODEL = ['config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json']
const UNWANTED = /\.test\.|\.map$|\/testing\/|\/goldens\/|__pycache__|\.sqlite/
const HELP_LIMIT_MS = 150

const problems = []
run(process.execPath, [join(ROOT, 'scripts', 'build.mjs')])
const folder = mkdtempSync(join(tmpdir(), 'twinkle-pack-'))
try {
  const tarball = pack(folder)
  run(join(BIN, 'publint'), ['run', tarball, '--strict'])
  run(join(BIN, 'attw'), [tarball, '--profile', 'esm-only'])
  checkCommand(tarball, folder)
  problems.push(...(await checkInstalled(tarball, folder)))
} finally {
  rmSync(folder, { recursive: true, force: true })
}
for (const problem of problems) console.error(`Error: ${problem}`)
process.exitCode = problems.length === 0 ? 0 : 1

function run(command, args) {
  const { status } = spawnSync(command, args, { cwd: ROOT, stdio: 'inherit' })
  if (status !== 0) problems.push(`${command.split('/').at(-1)} failed.`)
}

/** Path of the tarball. */
function pack(target) {
  const report = execFileSync('npm', ['pack', '--json', '--pack-destination', target], { cwd: ROOT, encoding: 'utf8' })
  const [{ filename, files, size }] = JSON.parse(report)
  const names = files.map((file) => file.path)
  for (const name of [...NEEDED, ...NEEDED_MODEL.map((file) => `models/tiny/${file}`)]) {
    if (!names.includes(name)) problems.push(`${name} is not in the package.`)
  }
  for (const name of names) if (UNWANTED.test(name)) problems.push(`${name} does not belong in the package.`)
  console.log(`${filename}: ${names.length} files, ${(size / 2 ** 20).toFixed(1)} MiB packed`)
  return join(target, filename)
}

/** Runs the packed command with the packages installed here; the best of five, since the machine may be busy. */
function checkCommand(tarball, target) {
  execFileSync('tar', ['-xzf', tarball, '-C', target])
  symlinkSync(join(ROOT, 'node_modules'), join(target, 'package', 'node_modules'))
  const main = join(target, 'package', 'dist', 'cli', 'main.js')
  const times = [1, 2, 3, 4, 5].map(() => {
    const start = performance.now()
    const help = execFileSync(process.execPath, [main, '--help'], { encoding: 'utf8' })
    if (!help.includes('serve')) problems.push('twinkle --help does not list its commands.')
    return performance.now() - start
  })
  const best = Math.min(...times)
  console.log(`twinkle --help: ${best.toFixed(0)} ms (best of ${times.length})`)
  if (best > HELP_LIMIT_MS) problems.push(`twinkle --help takes ${best.toFixed(0)} ms, more than ${HELP_LIMIT_MS}.`)
}
