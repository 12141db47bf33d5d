// Pages of the hosted service's console. A server of one's own has no console, and is not given an address that leads nowhere.

import { TinkerError } from './errors.ts'

const CONSOLE = 'https://tinker.thinkingmachines.ai'
const HOSTED = /(^|\.)thinkingmachines\.(dev|ai)$/

/** Throws TinkerError for a server that is not the hosted service. */
export function consoleUrl(baseUrl: string, kind: 'sessions' | 'training_runs', id?: string): string {
  if (!HOSTED.test(new URL(baseUrl).hostname)) {
    throw new TinkerError(
      `${baseUrl} has no console: only the hosted service has one. Next: RestClient.getTrainingRun and getSession tell the same.`,
    )
  }
  return id === undefined ? `${CONSOLE}/${kind}` : `${CONSOLE}/${kind}/${id}`
}
