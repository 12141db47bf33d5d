import { connectEngine } from './remote-engine.ts'
import { serveEngine } from './serve-engine.ts'
import { conformanceSuite } from './testing/conformance-suite.ts'
import { FakeEngine } from './testing/fake-engine.ts'
import { socketPair } from './testing/socket-pair.ts'

conformanceSuite('the fake engine', async () => new FakeEngine())

conformanceSuite('the fake engine behind a stream', async (cacheDir) => {
  const [near, far] = await socketPair()
  serveEngine(far, async () => new FakeEngine())
  return connectEngine(near, { name: 'fake/bigram', path: '/' }, { cacheDir, threads: 0 })
})
