// The tables of `twinkle ps`, from what a server says of itself. Text only: no terminal, no server.

import type { Schemas } from '../generated/operations.ts'
import { table } from './table.ts'

type ServerStatus = Schemas['ServerStatus']

/** Lines that fit a screen of this width; what is longer is cut by the terminal. */
export function psView(status: ServerStatus, address: string): string {
  const { version, uptime_seconds, memory, waiting_operations } = status
  const head =
    `${address}  twinkle ${version}, up ${duration(uptime_seconds)}, ` +
    `API ${mebibytes(memory.api_bytes)}, engines ${mebibytes(memory.engine_bytes)}` +
    (status.scope === 'own' ? '  (your own; an admin key shows all)' : '')
  const parts = [
    head,
    models(status),
    section('RUNS', 'no training runs', runs(status)),
    section(`QUEUE (${waiting_operations} waiting)`, 'nothing runs or waits', operations(status)),
    section('SAMPLERS', 'nothing was drawn yet', samplers(status)),
  ]
  return parts.join('\n\n')
}

function models({ models }: ServerStatus): string {
  const rows = models.flatMap((model) => {
    const facts = [
      model.name,
      model.backend,
      model.engine,
      mebibytes(model.resident_bytes),
      String(model.adapters ?? '-'),
    ]
    const lines = model.lines.length ? model.lines : [null]
    return lines.map((line, i) => [
      ...(i === 0 ? facts : facts.map(() => '')),
      line?.kind ?? '-',
      String(line?.running ?? '-'),
      String(line?.waiting ?? '-'),
      rate(line?.tokens_per_second),
    ])
  })
  return table(['MODEL', 'BACKEND', 'ENGINE', 'MEMORY', 'ADAPTERS', 'WORK', 'RUNNING', 'WAITING', 'TOK/S'], rows)
}

function section(title: string, empty: string, lines: string | null): string {
  return `${title}\n${lines ?? empty}`
}

function runs({ runs }: ServerStatus): string | null {
  const rows = runs.map((run) => [
    run.id,
    run.tenant.slice(0, 12),
    run.base_model,
    String(run.rank),
    String(run.step ?? '-'),
    run.loss === null ? '-' : run.loss.toFixed(4),
    rate(run.tokens_per_second),
    duration(run.idle_seconds),
  ])
  return rows.length ? table(['RUN', 'TENANT', 'MODEL', 'RANK', 'STEP', 'LOSS', 'TOK/S', 'IDLE'], rows) : null
}

function operations({ operations }: ServerStatus): string | null {
  const rows = operations.map((o) => [
    o.request_id,
    o.tenant.slice(0, 12),
    o.kind,
    o.state,
    o.state === 'running' ? '-' : String(o.position),
    o.estimate_seconds === null ? '?' : duration(o.estimate_seconds),
    o.reason ?? '',
  ])
  return rows.length ? table(['REQUEST', 'TENANT', 'KIND', 'STATE', 'AHEAD', 'STARTS IN', 'WHY'], rows) : null
}

function samplers({ samplers }: ServerStatus): string | null {
  const rows = samplers.map((s) => [
    s.id,
    s.tenant.slice(0, 12),
    s.path ?? s.base_model,
    String(s.sequences),
    rate(s.tokens_per_second),
    duration(s.idle_seconds),
  ])
  return rows.length ? table(['SAMPLER', 'TENANT', 'DRAWS FROM', 'SEQUENCES', 'TOK/S', 'IDLE'], rows) : null
}

function mebibytes(bytes: number | null): string {
  return bytes === null ? '-' : `${Math.round(bytes / 2 ** 20)} MiB`
}

function rate(perSecond: number | null | undefined): string {
  return perSecond == null ? '-' : perSecond < 10 ? perSecond.toFixed(1) : String(Math.round(perSecond))
}

function duration(seconds: number): string {
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)}s`
  const minutes = Math.floor(seconds / 60)
  if (minutes < 60) return `${minutes}m${String(Math.floor(seconds % 60)).padStart(2, '0')}s`
  const hours = Math.floor(minutes / 60)
  return hours < 48 ? `${hours}h${String(minutes % 60).padStart(2, '0')}m` : `${Math.floor(hours / 24)} days`
}
