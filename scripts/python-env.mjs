#!/usr/bin/env node
/**
 * Virtual environments with pinned Python packages, one a named set, made on first use and kept under .cache/venv. It knows
 * how to find a Python that really runs and how to make an environment that is whole or absent; it does not know what the
 * packages are for. A set is a file openapi/conformance/sdk/requirements/NAME.txt: pip's own format, every version exact;
 * `-r FILE` includes another.
 *
 *     node scripts/python-env.mjs sdk-0.38.0 [NAME...]      prints the path of each environment's interpreter
 *     node scripts/python-env.mjs --find                    prints the Python that it would make them with
 *
 * Exit code 3: no Python that can do it; 1: pip could not install the set. Either way one sentence on stderr says what to do.
 */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const ROOT = path.join(path.dirname(fileURLToPath(import.meta.url)), '..')
const REQUIREMENTS = path.join(ROOT, 'openapi', 'conformance', 'sdk', 'requirements')
const VENVS = process.env.TWINKLE_VENVS ?? path.join(ROOT, '.cache', 'venv')
const MAKING = '.making-'
const OLDEST = [3, 11]
const NAMES = ['python3.13', 'python3.12', 'python3.11', 'python3', 'python', 'python3.14']
const PROBE = 'import ensurepip, sys, venv; print(sys.version_info[0], sys.version_info[1], sys.executable)'

export class NoPythonError extends Error {
  constructor(tried) {
    super(
      `no Python >= ${OLDEST.join('.')} with venv and pip runs here (tried ${tried.join(', ')}). ` +
        'Next: install one (for instance `apt install python3 python3-venv`), or name one with TWINKLE_PYTHON=/path/to/python.',
    )
    this.name = 'NoPythonError'
  }
}

/** The interpreter of the environment for this set, made first if it is not there yet. Throws NoPythonError. */
export function ensurePythonEnv(name) {
  const file = path.join(REQUIREMENTS, `${name}.txt`)
  if (!fs.existsSync(file)) throw new Error(`no requirement set "${name}"; there are ${requirementSets().join(', ')}`)
  const python = findPython()
  const key = createHash('sha256')
    .update(`${python.version}\n${textOf(file)}`)
    .digest('hex')
    .slice(0, 12)
  const venv = path.join(VENVS, `${name}-${key}`)
  if (!fs.existsSync(venv)) make(venv, python.command, file)
  return interpreterOf(venv)
}

/** A set as one text, with what it includes: an environment is made anew when any of it changes. */
function textOf(file) {
  const include = (_line, name) => textOf(path.join(path.dirname(file), name))
  return fs.readFileSync(file, 'utf8').replaceAll(/^-r (.+)$/gm, include)
}

export function requirementSets() {
  return fs
    .readdirSync(REQUIREMENTS)
    .filter((file) => file.endsWith('.txt'))
    .map((file) => path.basename(file, '.txt'))
    .sort()
}

/** The first interpreter that runs: a name on the PATH may be a version manager's shim that only fails when called. */
export function findPython() {
  const candidates = process.env.TWINKLE_PYTHON ? [process.env.TWINKLE_PYTHON] : [...NAMES, ...managedInterpreters()]
  for (const candidate of candidates) {
    const found = probe(candidate)
    if (found) return found
  }
  throw new NoPythonError(candidates)
}

function probe(candidate) {
  try {
    const stdio = ['ignore', 'pipe', 'ignore']
    const said = execFileSync(candidate, ['-c', PROBE], { encoding: 'utf8', timeout: 20_000, stdio }).trim()
    const [major, minor, ...executable] = said.split(' ')
    const isNewEnough = Number(major) > OLDEST[0] || (Number(major) === OLDEST[0] && Number(minor) >= OLDEST[1])
    return isNewEnough ? { command: executable.join(' '), version: `${major}.${minor}` } : null
  } catch {
    return null
  }
}

function managedInterpreters() {
  const versions = path.join(process.env.PYENV_ROOT ?? path.join(os.homedir(), '.pyenv'), 'versions')
  if (!fs.existsSync(versions)) return []
  const newestFirst = (a, b) => b.localeCompare(a, 'en', { numeric: true })
  return fs
    .readdirSync(versions)
    .sort(newestFirst)
    .map((version) => path.join(versions, version, 'bin', 'python'))
}

/** Makes it under another name and renames it when it is whole, so that neither an interruption nor a race leaves a half. */
function make(venv, python, requirements) {
  fs.mkdirSync(VENVS, { recursive: true })
  removeLeftovers()
  const work = fs.mkdtempSync(path.join(VENVS, `${MAKING}${process.pid}-`))
  try {
    // What pip says belongs on stderr: stdout carries paths alone.
    const run = (command, args) => execFileSync(command, args, { stdio: ['ignore', 2, 2] })
    run(python, ['-m', 'venv', work])
    const pip = [
      '-m',
      'pip',
      '--disable-pip-version-check',
      '--no-input',
      'install',
      '--quiet',
      '--no-deps',
      '--no-compile',
    ]
    run(interpreterOf(work), [...pip, '-r', requirements])
    fs.renameSync(work, venv)
  } catch (error) {
    if (!fs.existsSync(venv)) throw error
  } finally {
    fs.rmSync(work, { recursive: true, force: true })
  }
}

/** What a killed process was making. */
function removeLeftovers() {
  for (const name of fs.readdirSync(VENVS).filter((entry) => entry.startsWith(MAKING))) {
    if (!isRunning(Number(name.slice(MAKING.length).split('-')[0]))) {
      fs.rmSync(path.join(VENVS, name), { recursive: true, force: true })
    }
  }
}

function isRunning(pid) {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error.code === 'EPERM'
  }
}

function interpreterOf(venv) {
  return process.platform === 'win32' ? path.join(venv, 'Scripts', 'python.exe') : path.join(venv, 'bin', 'python')
}

function main(names) {
  try {
    if (names[0] === '--find') return void process.stdout.write(`${findPython().command}\n`)
    if (names.length === 0) throw new Error(`name a set: ${requirementSets().join(', ')}`)
    for (const name of names) process.stdout.write(`${ensurePythonEnv(name)}\n`)
  } catch (error) {
    process.stderr.write(`python-env: ${error.message}\n`)
    process.exitCode = error instanceof NoPythonError ? 3 : 1
  }
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) main(process.argv.slice(2))
