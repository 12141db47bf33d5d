// Heavy work on adapter files, away from the process that serves requests: one task at a time in a child process of low
// priority, and one of each tenant, so that nobody's imports hold up anybody.

import { spawn } from 'node:child_process'
import { setPriority } from 'node:os'
import { workerArguments } from '../../backends/child-process.ts'
import { serviceError } from '../errors.ts'
import type { TaskAnswer, TaskJob, TaskResults } from './adapter-task.ts'

const TASK = new URL(import.meta.url.endsWith('.ts') ? './adapter-task.ts' : './adapter-task.js', import.meta.url)
/** Nice: engines and requests come first. */
const PRIORITY = 10
/** Of its messages, what is kept for the log. */
const LAST_WORDS = 2000

export class AdapterTasks {
  readonly #busy = new Set<string>()
  #last: Promise<unknown> = Promise.resolve()

  /** Whether a tenant has work here is asked before its upload is read. Throws ADAPTER_TASK_RUNNING. */
  async of<T>(tenant: string, work: () => Promise<T>): Promise<T> {
    if (this.#busy.has(tenant)) throw serviceError('ADAPTER_TASK_RUNNING')
    this.#busy.add(tenant)
    try {
      return await work()
    } finally {
      this.#busy.delete(tenant)
    }
  }

  /** Waits its turn. Throws ADAPTER_REFUSED with what is wrong with the files; ends when `signal` aborts. */
  async run<J extends TaskJob>(job: J, signal: AbortSignal): Promise<TaskResults[J['kind']]> {
    const turn = this.#last.then(() => carryOut<TaskResults[J['kind']]>(job, signal))
    this.#last = turn.catch(() => {})
    return turn
  }

  async close(): Promise<void> {
    await this.#last
  }
}

async function carryOut<T>(job: TaskJob, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted()
  const child = spawn(process.execPath, [...workerArguments(TASK), JSON.stringify(job)], {
    env: { PATH: process.env.PATH },
    stdio: ['ignore', 'pipe', 'pipe'],
    signal,
    killSignal: 'SIGKILL',
    windowsHide: true,
  })
  if (child.pid !== undefined) lower(child.pid)
  const said = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => {
      said[name] = name === 'stdout' ? said.stdout + text : (said.stderr + text).slice(-LAST_WORDS)
    })
  }
  const code = await new Promise<number | null>((resolve, reject) => child.once('error', reject).once('close', resolve))
  if (code !== 0) throw new Error(`the task on adapter files ended with ${code}: ${said.stderr}`)
  const answer: TaskAnswer<T> = JSON.parse(said.stdout)
  if ('problem' in answer) throw serviceError('ADAPTER_REFUSED', { problem: answer.problem })
  return answer.result
}

/** Engines and requests come before this process, which may have ended. */
export function lower(pid: number): void {
  try {
    setPriority(pid, PRIORITY)
  } catch {
    return
  }
}
