#!/usr/bin/env node
// Makes a fresh clone ready: checks Node and installs the packages of the lockfile when they are not there or are others.
// Uses nothing but Node, since nothing else is there yet. `npm run demo` and `npm test` call it themselves: install scripts
// are switched off in this project, and with them npm's own pre and post hooks.

import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
export class SetupError extends Error {}

/** Throws SetupError with a sentence that says what to do. */
export function setup() {
  checkNode()
  if (isInstalled()) return
  console.log('Installing packages (npm ci, about half a minute) ...')
  const npm = spawnSync('npm', ['ci', '--no-audit', '--no-fund'], { cwd: ROOT, stdio: 'inherit', shell: isWindows() })
  if (npm.status === 0) return
  throw new SetupError('npm ci failed. Next: read its message above; it needs a network.')
}

/** npm ends an installation by noting what it installed. Optional packages of other machines are rightly absent. */
function isInstalled() {
  const note = join(ROOT, 'node_modules', '.package-lock.json')
  if (!existsSync(note)) return false
  const wanted = packagesOf(join(ROOT, 'package-lock.json'))
  const installed = packagesOf(note)
  return Object.entries(wanted).every(
    ([path, { version, optional }]) =>
      path === '' || (optional && !installed[path]) || installed[path]?.version === version,
  )
}

function packagesOf(lockfile) {
  return JSON.parse(readFileSync(lockfile, 'utf8')).packages
}

function checkNode() {
  const wanted = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')).engines.node.replace('>=', '')
  const [major, minor] = process.versions.node.split('.').map(Number)
  const [wantedMajor, wantedMinor] = wanted.split('.').map(Number)
  if (major > wantedMajor || (major === wantedMajor && minor >= wantedMinor)) return
  throw new SetupError(`Node ${process.versions.node} is too old. Next: install Node ${wanted} or newer.`)
}

function isWindows() {
  return process.platform === 'win32'
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  try {
    setup()
  } catch (error) {
    if (!(error instanceof SetupError)) throw error
    console.error(`Error: ${error.message}`)
    process.exitCode = 1
  }
}
