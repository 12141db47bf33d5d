import { expect, it } from 'vitest'
import type { Schemas } from '../generated/operations.ts'
import { psView } from './ps-view.ts'

const STATUS: Schemas['ServerStatus'] = {
  version: '1.2.3',
  uptime_seconds: 3700,
  scope: 'all',
  memory: { api_bytes: 90 * 2 ** 20, engine_bytes: 120 * 2 ** 20 },
  models: [
    {
      name: 'org/a',
      backend: 'transformers',
      engine: 'open',
      resident_bytes: 120 * 2 ** 20,
      adapters: 3,
      snapshots: 1,
      lines: [
        { kind: 'training', running: 2, waiting: 5, tenants: 2, tokens_per_second: 15_000.4 },
        { kind: 'sampling', running: 0, waiting: 0, tenants: 0, tokens_per_second: null },
      ],
    },
    {
      name: 'org/b',
      backend: 'bigram',
      engine: 'elsewhere',
      resident_bytes: null,
      adapters: null,
      snapshots: null,
      lines: [],
    },
  ],
  runs: [
    {
      id: 's:train:0',
      tenant: '0123456789abcdef',
      base_model: 'org/a',
      rank: 8,
      step: 12,
      loss: 1.23456,
      tokens_per_second: 3.21,
      idle_seconds: 75,
    },
  ],
  operations: [
    {
      request_id: 'r1',
      tenant: 't',
      base_model: 'org/a',
      kind: 'training',
      state: 'waiting',
      position: 4,
      reason: 'behind 4 operations',
      estimate_seconds: 2.5,
    },
  ],
  waiting_operations: 5,
  samplers: [],
}

it('shows models, runs with step and loss, what waits with place, time and reason', () => {
  expect(psView(STATUS, 'http://h:1')).toBe(`\
http://h:1  twinkle 1.2.3, up 1h01m, API 90 MiB, engines 120 MiB

MODEL  BACKEND       ENGINE     MEMORY   ADAPTERS  WORK      RUNNING  WAITING  TOK/S
org/a  transformers  open       120 MiB  3         training  2        5        15000
                                                   sampling  0        0        -
org/b  bigram        elsewhere  -        -         -         -        -        -

RUNS
RUN        TENANT        MODEL  RANK  STEP  LOSS    TOK/S  IDLE
s:train:0  0123456789ab  org/a  8     12    1.2346  3.2    1m15s

QUEUE (5 waiting)
REQUEST  TENANT  KIND      STATE    AHEAD  STARTS IN  WHY
r1       t       training  waiting  4      2.5s       behind 4 operations

SAMPLERS
nothing was drawn yet`)
})

it('says that more is there for an admin', () => {
  expect(psView({ ...STATUS, scope: 'own' }, 'http://h:1')).toContain('your own; an admin key shows all')
})
