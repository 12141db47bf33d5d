// The server under measurement: as built, in a process and a state directory of its own; its memory, and its own numbers.

import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { BUILT, type ServerProcess, startServerProcess } from '../demo/server-process.ts'

export async function withServer<T>(
  args: readonly string[],
  use: (server: ServerProcess, stateDir: string) => Promise<T>,
): Promise<T> {
  const stateDir = await mkdtemp(join(tmpdir(), 'twinkle-bench-'))
  try {
    const server = await startServerProcess(['--state-dir', stateDir, ...args], BUILT)
    try {
      return await use(server, stateDir)
    } finally {
      await server.stop()
    }
  } finally {
    await rm(stateDir, { recursive: true })
  }
}

/** Resident MB of the server and of its engines: the memory it has, not what the model's file maps. Linux only. */
export function memory({ pid }: ServerProcess): { api: number; engines: number } | null {
  try {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean)
    return { api: residentMb(pid), engines: children.reduce((sum, child) => sum + residentMb(Number(child)), 0) }
  } catch {
    return null
  }
}

function residentMb(pid: number): number {
  const kb = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
  return Number(kb) / 1024
}

/** Values of series without labels, of one look at the server's own metrics: some begin anew with each look. */
export async function metrics({ url }: ServerProcess, names: readonly string[]): Promise<number[]> {
  const text = await (await fetch(`${url}/metrics`)).text()
  return names.map((name) => Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1]))
}
