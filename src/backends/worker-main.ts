// What every worker process does: serves one engine over file descriptor 3 until that ends. It logs JSON lines to stderr.

import { Socket } from 'node:net'
import { type OpenEngine, serveEngine } from './serve-engine.ts'

export type Log = (sentence: string) => void

/** Runs this process as the worker of an engine; `open` makes the engine. Never returns: the process ends. */
export async function runWorker(open: (...args: [...Parameters<OpenEngine>, Log]) => ReturnType<OpenEngine>) {
  // Who stops the server also signals its children; they are needed until the server has drained.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => {})
  try {
    await serveEngine(parentSocket(), (model, options) => open(model, options, log))
    process.exit(0)
  } catch (error) {
    log(`the engine stops: ${(error as Error).message}`)
    process.exit(1)
  }
}

const log: Log = (msg) => {
  process.stderr.write(`${JSON.stringify({ time: Date.now(), pid: process.pid, msg })}\n`)
}

function parentSocket(): Socket {
  try {
    return new Socket({ fd: 3, readable: true, writable: true })
  } catch (cause) {
    throw new Error('a worker is started by twinkle, with a socket as file descriptor 3', { cause })
  }
}
