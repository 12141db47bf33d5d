// Whether an address can be listened on, asked before anything slow is started. Knows nothing of servers.

import { createServer } from 'node:net'

/** Null when the port is free (0 always is), else the system's code, such as EADDRINUSE. */
export function portProblem(host: string, port: number): Promise<string | null> {
  return new Promise((resolve) => {
    const probe = createServer()
    probe.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'UNKNOWN'))
    probe.listen({ host, port, exclusive: true }, () => probe.close(() => resolve(null)))
  })
}

export function portComplaint(host: string, port: number, code: string): { message: string; next: string } {
  switch (code) {
    case 'EADDRINUSE':
      return {
        message: `Port ${port} on ${host} is in use.`,
        next: `Stop what listens there, or choose another one: --port ${port + 1}, or --port 0 for a free one.`,
      }
    case 'EACCES':
      return {
        message: `Port ${port} on ${host} may not be used by this account.`,
        next: 'Choose one above 1023: --port 8000.',
      }
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
      return { message: `${host} is no address of this machine.`, next: 'Choose another one: --host 127.0.0.1.' }
    default:
      return { message: `${host}:${port} cannot be listened on (${code}).`, next: 'Choose another --host or --port.' }
  }
}
