// Installs the packed package in empty folders, whole and as a client alone, and does there what a user does: asks the
// command for help, serves, imports and type-checks every entry, trains as a client. Knows the package from outside only.

import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { cpSync, lstatSync, mkdirSync, readdirSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { findPython, NoPythonError } from '../python-env.mjs'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const PROGRAMS = fileURLToPath(new URL('programs', import.meta.url))
const READY_MS = 60_000

/** Problems, each a sentence. Prints the sizes. */
export async function checkInstalled(tarball, folder) {
  const problems = []
  const whole = installed(tarball, join(folder, 'whole'), [])
  const client = installed(tarball, join(folder, 'client'), ['--omit=optional'])
  console.log(`installed: ${megabytes(whole)} MB whole, ${megabytes(client)} MB as a client alone`)

  const attempt = (what, work) => {
    try {
      return work()
    } catch (error) {
      problems.push(`${what}: ${error.stdout ?? ''}${error.stderr ?? ''}${error.message}`)
    }
  }
  for (const place of [whole, client]) {
    attempt('twinkle --help', () => run('npx', ['--no-install', 'twinkle', '--help'], place))
    attempt('the import of every entry', () => run(process.execPath, ['imports.mjs'], place))
  }
  attempt('types of every entry', () => checkTypes(whole))
  attempt('the Python patch', () => installPatch(whole, folder))

  const server = await served(whole)
  attempt('the client alone, training', () => run(process.execPath, ['train.mjs', server.url], client))
  await server.stop()

  expectSentence(problems, client, /^Error: The optional package \S+ is not installed.*npm install --include=optional/)
  for (const name of ['libsql', 'onnxruntime-node']) {
    const place = join(whole, 'node_modules', name)
    renameSync(place, join(folder, name))
    const sentence = new RegExp(`^Error: The optional package ${name}\\b.* is not installed.*npm install ${name}`)
    expectSentence(problems, whole, sentence)
    renameSync(join(folder, name), place)
  }
  return problems
}

/** Path of a folder with the package in it: from npm's cache where it can, else from the registry. No install script runs. */
function installed(tarball, folder, flags) {
  mkdirSync(folder)
  writeFileSync(join(folder, 'package.json'), '{ "private": true, "type": "module" }')
  const quiet = ['--ignore-scripts', '--no-audit', '--no-fund', '--prefer-offline', '--loglevel=error']
  run('npm', ['install', ...quiet, ...flags, tarball], folder)
  cpSync(PROGRAMS, folder, { recursive: true })
  return folder
}

/** As a strict program of a user's sees them. */
function checkTypes(folder) {
  const compiler = join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc')
  const strict = ['--strict', '--exactOptionalPropertyTypes', '--noEmit', '--skipLibCheck', '--target', 'ES2023']
  run(process.execPath, [compiler, ...strict, '--module', 'NodeNext', 'types.ts'], folder)
}

/** By pip, from where npm put it; it must be importable, and nothing but its sources. */
function installPatch(folder, scratch) {
  const source = join(folder, 'node_modules', 'twinkle-ts', 'src', 'patch', 'python')
  const strange = readdirSync(source, { recursive: true }).filter((name) => /test|cache|\.pyc|egg-info/.test(name))
  if (strange.length > 0) throw new Error(`${strange.join(', ')} does not belong in the package`)
  const python = pythonOrNull()
  if (python === null) return
  const target = join(scratch, 'patch')
  run(python, ['-m', 'pip', '--disable-pip-version-check', 'install', '-q', '--target', target, source], scratch)
  if (!readdirSync(target).includes('twinkle_compat')) throw new Error('pip installed no twinkle_compat')
}

function pythonOrNull() {
  try {
    return findPython().command
  } catch (error) {
    if (!(error instanceof NoPythonError) || process.env.CI === 'true') throw error
    console.warn(`NOT RUN, the Python patch: ${error.message}`)
    return null
  }
}

/** A server at the address of its ready block. */
async function served(folder) {
  const main = join(folder, 'node_modules', 'twinkle-ts', 'dist', 'cli', 'main.js')
  const words = [main, 'serve', '--port', '0', '--state-dir', join(folder, 'state')]
  const child = spawn(process.execPath, words, { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] })
  let said = ''
  const closed = new Promise((resolve) => child.once('close', resolve))
  const url = await new Promise((resolve, reject) => {
    const timer = setTimeout(() => child.kill('SIGKILL'), READY_MS)
    const hear = (chunk) => {
      said += chunk
      const address = /ready at (http:\/\/\S+)/.exec(said)?.[1]
      if (address === undefined) return
      clearTimeout(timer)
      resolve(address)
    }
    child.stdout.on('data', hear)
    child.stderr.on('data', hear)
    child.once('close', () => reject(new Error(`twinkle serve did not get ready: ${said}`)))
  })
  const stop = () => {
    child.kill('SIGTERM')
    return closed
  }
  return { url, stop }
}

/** `twinkle serve` ends with code 1 and this as its last line, without a stack trace. */
function expectSentence(problems, folder, sentence) {
  const words = ['--no-install', 'twinkle', 'serve', '--port', '0', '--state-dir', join(folder, 'without')]
  const { status, stderr } = spawnSync('npx', words, { cwd: folder, encoding: 'utf8', timeout: READY_MS })
  const last = stderr.trim().split('\n').at(-1)
  if (status === 1 && sentence.test(last) && !/\n +at /.test(stderr) && !stderr.includes('node:internal')) return
  problems.push(`twinkle serve without a package it needs ends with code ${status} and: ${stderr}`)
}

function run(command, words, cwd) {
  return execFileSync(command, words, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
}

/** What the files in it are long, in MB. */
function megabytes(folder) {
  const lengths = readdirSync(join(folder, 'node_modules'), { recursive: true }).map((name) => {
    const stat = lstatSync(join(folder, 'node_modules', name))
    return stat.isFile() ? stat.size : 0
  })
  return Math.round(lengths.reduce((sum, length) => sum + length, 0) / 1e6)
}
