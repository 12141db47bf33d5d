// `twinkle doctor`: what this machine can do, what is missing, and how to add it. Each check is a function that finds out
// by trying. It changes nothing that stays, and asks no other machine.

import { existsSync } from 'node:fs'
import { access, constants, stat, statfs } from 'node:fs/promises'
import { availableParallelism, freemem, totalmem } from 'node:os'
import { dirname } from 'node:path'
import colors from 'picocolors'
import { EngineError } from '../backends/backend.ts'
import { loadConfig, type ServerConfig } from '../server/config.ts'
import { EMBEDDED_MODEL } from '../server/config-fields.ts'
import { shownDatabase } from '../server/config-values.ts'
import { ServiceError } from '../server/errors.ts'
import { MANIFEST } from '../server/manifest.ts'
import { withPackages } from '../server/missing-package.ts'
import { modelBackends } from '../server/model-backends.ts'
import { portComplaint, portProblem } from './port.ts'
import { findPython } from './python.ts'
import type { ServeFlags } from './serve.ts'
import { type ServerOptions, serverAddress } from './server-call.ts'
import { serverHealth } from './server-health.ts'

/** `missing`: serving does not work without it. `note`: serving works, something else does not. */
export interface Check {
  readonly name: string
  readonly status: 'ok' | 'note' | 'missing'
  readonly found: string
  readonly next?: string
}

/** Needed or not, depending on the database and the backend. */
const CHECKED_ALONE = new Set(['libsql', 'onnxruntime-node', 'pg'])

export interface DoctorOptions extends ServeFlags, ServerOptions {
  readonly json?: boolean
}

export async function doctor(options: DoctorOptions): Promise<void> {
  const { json, url, config: file, ...flags } = options
  const { config } = await loadConfig({ flags, env: process.env, ...(file === undefined ? {} : { file }) })
  const checks = url === undefined ? await examine(config) : await serverHealth(serverAddress({ url }))
  const isFit = checks.every((check) => check.status !== 'missing')
  process.stdout.write(`${json ? JSON.stringify({ ok: isFit, checks }) : report(checks, isFit)}\n`)
  if (!isFit) process.exitCode = 1
}

export async function examine(config: ServerConfig): Promise<Check[]> {
  const checks = await Promise.all([
    nodeVersion(process.versions.node, MANIFEST.engines.node.replace('>=', '')),
    processors(),
    memory(),
    serverPackages(),
    optionalPackage('onnxruntime-node', 'computes'),
    database(config),
    embeddedModel(EMBEDDED_MODEL.path),
    baseModels(config),
    port(config),
    stateDir(config.stateDir),
    disk(config.stateDir),
    python(),
  ])
  return checks.flat()
}

export function nodeVersion(found: string, needed: string): Check {
  const [major = 0, minor = 0] = found.split('.').map(Number)
  const [neededMajor = 0, neededMinor = 0] = needed.split('.').map(Number)
  const isNew = major > neededMajor || (major === neededMajor && minor >= neededMinor)
  const check = { name: 'Node', found: `${found} (needs ${needed})` }
  return isNew ? { ...check, status: 'ok' } : { ...check, status: 'missing', next: `Install Node ${needed} or newer.` }
}

function processors(): Check {
  return { name: 'processors', status: 'ok', found: String(availableParallelism()) }
}

function memory(): Check {
  const found = `${gibibytes(totalmem())}, ${gibibytes(freemem())} of it free`
  if (freemem() >= 2 ** 29) return { name: 'memory', status: 'ok', found }
  return { name: 'memory', status: 'note', found, next: 'Serve small models only, or free some memory.' }
}

/** Loads it, since a native package may be there and still not run on this machine. */
async function optionalPackage(name: string, purpose: string): Promise<Check> {
  const version = MANIFEST.optionalDependencies[name]
  try {
    await import(name)
    return { name, status: 'ok', found: `${version} (${purpose})` }
  } catch (error) {
    const isAbsent = (error as NodeJS.ErrnoException).code === 'ERR_MODULE_NOT_FOUND'
    const found = isAbsent ? 'not installed' : `does not load: ${(error as Error).message.split('\n')[0]}`
    return { name, status: 'missing', found, next: `It ${purpose}. Install it: npm install ${name}@${version}` }
  }
}

/** Those that every server needs and a client does not, in one line: they come and go together. */
async function serverPackages(): Promise<Check> {
  const names = Object.keys(MANIFEST.optionalDependencies).filter((name) => !CHECKED_ALONE.has(name))
  const checks = await Promise.all(names.map((name) => optionalPackage(name, 'is needed to serve')))
  const absent = checks.filter(({ status }) => status !== 'ok').map((check) => check.name)
  const name = 'server packages'
  if (absent.length === 0) return { name, status: 'ok', found: names.join(', ') }
  const next = 'Serving needs them. Install what belongs to a server: npm install --include=optional'
  return { name, status: 'missing', found: `not installed: ${absent.join(', ')}`, next }
}

/** What keeps the journal: the package for it, and a PostgreSQL server where that is it. */
async function database({ database }: ServerConfig): Promise<Check[]> {
  if (database === 'sqlite') return [await optionalPackage('libsql', 'keeps the journal')]
  const name = 'database'
  try {
    const { checkPostgres } = await withPackages(() => import('../server/store/postgres.ts'))
    const version = await checkPostgres(database)
    return [{ name, status: 'ok', found: `${shownDatabase(database)} (PostgreSQL ${version})` }]
  } catch (error) {
    if (!(error instanceof ServiceError)) throw error
    return [{ name, status: 'missing', found: error.message, next: error.next }]
  }
}

export function embeddedModel(path: string): Check {
  const gone = ['config.json', 'model.safetensors', 'tokenizer.json'].find((file) => !existsSync(`${path}/${file}`))
  const name = 'embedded model'
  if (gone === undefined) return { name, status: 'ok', found: EMBEDDED_MODEL.name }
  return { name, status: 'missing', found: `${gone} is not in ${path}`, next: 'Install the package again.' }
}

/** Which backend serves which base model; modules are loaded to find out, no model is opened. */
async function baseModels(config: ServerConfig): Promise<Check[]> {
  try {
    const backendOf = await modelBackends(config)
    return config.models.map(({ name }) => ({ name, status: 'ok', found: `served by backend ${backendOf(name).name}` }))
  } catch (error) {
    if (!(error instanceof EngineError)) throw error
    const next = 'Correct backend, backends or the backend of a model in the configuration.'
    return [{ name: 'backends', status: 'missing', found: error.message, next }]
  }
}

async function port({ host, port }: ServerConfig): Promise<Check> {
  const code = await portProblem(host, port)
  const name = `port ${port}`
  if (code === null) return { name, status: 'ok', found: `free on ${host}` }
  const { message, next } = portComplaint(host, port, code)
  return { name, status: 'note', found: message, next }
}

export async function stateDir(path: string): Promise<Check> {
  const name = 'state folder'
  const existing = nearestExisting(path)
  try {
    if (!(await stat(existing)).isDirectory()) throw new Error('not a folder')
    await access(existing, constants.W_OK)
    return { name, status: 'ok', found: existing === path ? path : `${path} (will be made)` }
  } catch {
    const found = `${existing} is no folder that this account may write to`
    return { name, status: 'missing', found, next: 'Choose another one with --state-dir.' }
  }
}

async function disk(path: string): Promise<Check> {
  const { bavail, bsize } = await statfs(nearestExisting(path))
  const free = bavail * bsize
  const found = `${gibibytes(free)} free`
  if (free >= 2 ** 30) return { name: 'disk', status: 'ok', found }
  return { name: 'disk', status: 'note', found, next: 'Free some space: checkpoints and converted weights need it.' }
}

async function python(): Promise<Check> {
  const found = await findPython()
  if (found) return { name: 'Python', status: 'ok', found: `${found.version} (${found.command})` }
  const next = 'Serving needs none. For the Tinker SDK, install Python 3.11 or newer.'
  return { name: 'Python', status: 'note', found: 'none of 3.11 or newer runs', next }
}

function nearestExisting(path: string): string {
  return existsSync(path) || dirname(path) === path ? path : nearestExisting(dirname(path))
}

function gibibytes(bytes: number): string {
  return `${(bytes / 2 ** 30).toFixed(1)} GiB`
}

const MARKS = { ok: colors.green('ok     '), note: colors.yellow('note   '), missing: colors.red('missing') }

function report(checks: readonly Check[], isFit: boolean): string {
  const width = Math.max(...checks.map((check) => check.name.length))
  const lines = checks.flatMap(({ status, name, found, next }) => [
    `${MARKS[status]}  ${name.padEnd(width)}  ${found}`,
    ...(next === undefined ? [] : [`${' '.repeat(width + 11)}${next}`]),
  ])
  const verdict = isFit ? 'Ready: twinkle serve' : 'Something that serving needs is missing.'
  return [...lines, '', verdict].join('\n')
}
