// Keeps docs/reference/metrics.md true: `npx vitest run src/server/observing/metrics-reference.test.ts -u` writes it.

import { afterAll, beforeAll, expect, it } from 'vitest'
import { TestServer } from '../testing/test-server.ts'

const server = new TestServer()
beforeAll(() => server.start())
afterAll(() => server.stop())

const OURS = /^# (HELP|TYPE) (twinkle_\w+) (.*)$/

it('docs/reference/metrics.md lists every series', async () => {
  const text = await (await server.send('metrics')).text()
  const series = new Map<string, { help: string; type: string }>()
  for (const line of text.split('\n')) {
    const [, what, name, words] = OURS.exec(line) ?? []
    if (!name || !words) continue
    const one = series.get(name) ?? { help: '', type: '' }
    series.set(name, what === 'HELP' ? { ...one, help: words } : { ...one, type: words })
  }
  expect(series.size).toBeGreaterThan(15)
  const rows = [...series].sort(([a], [b]) => (a < b ? -1 : 1))
  const table = rows.map(([name, { help, type }]) => `| \`${name}\` | ${type} | ${help} |`)
  await expect(
    [
      '# Metrics',
      '',
      'What `GET /metrics` has, beside the process metrics of prom-client (`process_*`, `nodejs_*`: memory, processor time,',
      'event loop delay, garbage collection). Made by a test; [the guide](../guides/operate.md#metrics) says who sees what.',
      '',
      '| series | type | what it is |',
      '| --- | --- | --- |',
      ...table,
      '',
    ].join('\n'),
  ).toMatchFileSnapshot('../../../docs/reference/metrics.md')
})
