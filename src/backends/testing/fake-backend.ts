// A backend whose engines are fakes. It remembers what it opened and can be told to fail.

import { type Backend, type BackendOptions, defineBackend, type ModelSource } from '../backend.ts'
import { FakeEngine, type FakeEngineOptions } from './fake-engine.ts'

export interface FakeBackend extends Backend {
  /** Engines opened so far, oldest first; each has the model's name in its info. */
  readonly engines: readonly FakeEngine[]
  /** The next `open` throws this. */
  failOpen(error: Error): void
}

export function fakeBackend(options: FakeEngineOptions = {}): FakeBackend {
  const engines: FakeEngine[] = []
  const failures: Error[] = []
  const backend = defineBackend({
    name: 'fake',
    async open(model: ModelSource, _options: BackendOptions, signal?: AbortSignal) {
      signal?.throwIfAborted()
      const failure = failures.shift()
      if (failure) throw failure
      const engine = new FakeEngine({ ...options, info: { model: model.name, ...options.info } })
      engines.push(engine)
      return engine
    },
  })
  return { ...backend, engines, failOpen: (error) => void failures.push(error) }
}
