// Engines in child processes: starts a worker, speaks frames with it over file descriptor 3, and knows how it ended. The
// worker ends when that socket does, so it cannot outlive this process, however this one dies. Knows no models.

import { type ChildProcess, spawn } from 'node:child_process'
import { createRequire } from 'node:module'
import { createInterface } from 'node:readline'
import type { Duplex, Readable } from 'node:stream'
import { fileURLToPath, pathToFileURL } from 'node:url'
import type { BackendOptions, Engine, ModelSource } from './backend.ts'
import { engineError } from './engine-errors.ts'
import { OWN_PACKAGE } from './own-package.ts'
import { connectEngine } from './remote-engine.ts'

/** How long a worker may take to end by itself once its socket is closed. */
const GRACE_MS = 2_000
/** Lines of the worker's output that are repeated when it dies. */
const LAST_WORDS = 3
/** What a worker gets of this process's environment: nothing that could hold a secret. */
const ENVIRONMENT = ['PATH', 'HOME', 'TMPDIR', 'TMP', 'TEMP', 'TZ', 'LANG', 'LC_ALL', 'LD_LIBRARY_PATH', 'SystemRoot']

/** Opens `model` in a process of its own that runs `worker`, a module that calls `serveEngine`. */
export async function spawnEngine(
  worker: URL,
  model: ModelSource,
  options: BackendOptions,
  signal?: AbortSignal,
): Promise<Engine> {
  const child = spawn(process.execPath, workerArguments(worker), {
    env: Object.fromEntries(ENVIRONMENT.flatMap((name) => (name in process.env ? [[name, process.env[name]]] : []))),
    stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
    windowsHide: true,
  })
  const ended = untilEnd(child)
  const socket = child.stdio?.[3] as Duplex | undefined
  // Out of file descriptors or processes there are no pipes at all.
  if (!socket) throw engineError('INTERNAL', `the engine process of ${model.name} ${await ended}`)
  const words: string[] = []
  const listen = (line: string) => {
    words.push(line)
    if (words.length > LAST_WORDS) words.shift()
    options.log(line)
  }
  readLog(child.stdout as Readable, listen)
  readLog(child.stderr as Readable, listen)
  const gone = async () => {
    const timer = setTimeout(() => child.kill('SIGKILL'), GRACE_MS)
    const how = await ended
    clearTimeout(timer)
    const said = words.length ? `; its last words: ${words.join(' | ')}` : ''
    return `the engine process of ${model.name} ${how}${said}`
  }
  return connectEngine(socket, model, { ...options, gone }, signal)
}

/**
 * Node's arguments that run a worker. Where this package runs from its sources they go through tsx, which is there in a
 * checkout; a worker from elsewhere is told what `twinkle-ts/backends` is.
 */
export function workerArguments(worker: URL): string[] {
  const isSource = import.meta.url.endsWith('.ts')
  const isOurs = worker.href.startsWith(new URL('..', import.meta.url).href)
  const tsx = isSource ? [pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href] : []
  const first = isOurs ? tsx : [...tsx, OWN_PACKAGE]
  return [...first.flatMap((module) => ['--import', module]), fileURLToPath(worker)]
}

function untilEnd(child: ChildProcess): Promise<string> {
  return new Promise((resolve) => {
    child.once('error', (error) => resolve(`could not be started: ${error.message}`))
    // `close` comes after the last line of output was read.
    child.once('close', (code, signal) => resolve(signal ? `was killed by ${signal}` : `ended with exit code ${code}`))
  })
}

function readLog(output: Readable, log: (line: string) => void): void {
  createInterface({ input: output, crlfDelay: Infinity }).on('line', (line) => log(sentenceOf(line)))
}

/** Workers log JSON lines with a `msg`; what a runtime prints by itself is passed on as it is. */
function sentenceOf(line: string): string {
  try {
    const { msg } = JSON.parse(line) as { msg?: unknown }
    return typeof msg === 'string' ? msg : line
  } catch {
    return line
  }
}
