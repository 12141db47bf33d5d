// Checks of adapters as things: made, named, saved, loaded, released.

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { collect, LORA, optimStep, trainingItem } from './requests.ts'
import { type Check, failureOf, LONG, newId, newPath, refused, SHORT, sameBits, Tenant } from './tenant.ts'

export const ADAPTER_CHECKS: readonly Check[] = [
  {
    name: 'an id is one adapter until it is released, and free after',
    async run({ engine }) {
      const { id } = await Tenant.create(engine)
      await refused(engine.createAdapter(id, LORA), 'ADAPTER_EXISTS')
      await engine.releaseAdapter(id)
      await refused(engine.releaseAdapter(id), 'ADAPTER_NOT_FOUND')
      const { parameters } = await engine.createAdapter(id, LORA)
      assert(parameters > 0, 'an adapter has parameters')
    },
  },
  {
    name: 'a rank that is no rank is refused',
    async run({ engine }) {
      for (const rank of [0, -1, 1.5, engine.info.maxRank + 1]) {
        await refused(engine.createAdapter(newId(), { ...LORA, rank }), 'INVALID_ADAPTER')
      }
    },
  },
  {
    name: 'whatever is asked of an unknown adapter is refused, for it alone',
    async run(bench) {
      const { engine } = bench
      const id = newId()
      const tenant = await Tenant.create(engine)
      const outcomes = await collect(engine.train([trainingItem('lost', id), tenant.item([SHORT])]))
      const steps = await engine.optimStep([optimStep('lost', id), tenant.step()])
      for (const list of [outcomes, steps]) {
        assert.equal(failureOf(list.find((o) => o.operation === 'lost')).code, 'ADAPTER_NOT_FOUND')
        assert.equal(list.filter((o) => 'result' in o).length, 1)
      }
      await refused(engine.saveAdapter(id, newPath(bench), 'weights'), 'ADAPTER_NOT_FOUND')
      await refused(engine.loadAdapter(id, newPath(bench), 'weights'), 'ADAPTER_NOT_FOUND')
      await refused(engine.publish(id), 'ADAPTER_NOT_FOUND')
      await refused(engine.discardGradients(id), 'ADAPTER_NOT_FOUND')
    },
  },
  {
    name: 'an adapter loaded with its optimiser state takes the same next step, bit for bit',
    async run(bench) {
      const tenant = await Tenant.trained(bench.engine)
      const folder = newPath(bench)
      await bench.engine.saveAdapter(tenant.id, folder, 'weights+optimizer')
      const resumed = await Tenant.create(bench.engine, { seed: '99' })
      await bench.engine.loadAdapter(resumed.id, folder, 'weights+optimizer')
      assert.deepEqual(await resumed.learn([LONG]), await tenant.learn([LONG]))
      const [after, wanted] = [await resumed.forward([LONG]), await tenant.forward([LONG])]
      sameBits(after.logprobs[0]!, wanted.logprobs[0]!, 'logprobs after the step')
    },
  },
  {
    name: 'an adapter loaded without optimiser state starts counting steps anew',
    async run(bench) {
      const tenant = await Tenant.trained(bench.engine)
      const folder = newPath(bench)
      await bench.engine.saveAdapter(tenant.id, folder, 'weights')
      const wanted = await tenant.forward([SHORT])
      await tenant.learn([LONG])
      await bench.engine.loadAdapter(tenant.id, folder, 'weights')
      sameBits((await tenant.forward([SHORT])).logprobs[0]!, wanted.logprobs[0]!, 'logprobs of the loaded weights')
      assert.equal((await tenant.learn([SHORT])).step, 1)
    },
  },
  {
    name: 'loading drops gradients',
    async run(bench) {
      const tenant = await Tenant.create(bench.engine)
      const folder = newPath(bench)
      await bench.engine.saveAdapter(tenant.id, folder, 'weights')
      await tenant.backward([SHORT])
      await bench.engine.loadAdapter(tenant.id, folder, 'weights')
      assert.equal((await tenant.optimise()).applied, false)
    },
  },
  {
    name: 'a saved folder holds what was said of it, and is never written over',
    async run(bench) {
      const tenant = await Tenant.trained(bench.engine)
      const folder = newPath(bench)
      const files = await bench.engine.saveAdapter(tenant.id, folder, 'weights+optimizer')
      const onDisk = readdirSync(folder).sort()
      assert.deepEqual(files.map((file) => file.name).sort(), onDisk)
      for (const { name, bytes, sha256 } of files) {
        const content = readFileSync(join(folder, name))
        assert.equal(content.length, bytes, `bytes of ${name}`)
        assert.equal(createHash('sha256').update(content).digest('hex'), sha256, `hash of ${name}`)
      }
      await refused(bench.engine.saveAdapter(tenant.id, folder, 'weights'), 'FOLDER_EXISTS')
      assert.deepEqual(readdirSync(folder).sort(), onDisk)
      const left = readdirSync(bench.folder).filter((name) => folder.endsWith(name.slice(0, 36)))
      assert.equal(left.length, 1, `only the folder itself may be left, not ${left}`)
    },
  },
  {
    name: 'a folder that holds no adapter is refused, and the adapter stays as it was',
    async run(bench) {
      const tenant = await Tenant.trained(bench.engine)
      const before = await tenant.forward([SHORT])
      await refused(bench.engine.loadAdapter(tenant.id, newPath(bench), 'weights'), 'INVALID_ADAPTER')
      await refused(bench.engine.loadSnapshot(newPath(bench)), 'INVALID_ADAPTER')
      const folder = newPath(bench)
      await bench.engine.saveAdapter(tenant.id, folder, 'weights')
      const withState = bench.engine.loadAdapter(tenant.id, folder, 'weights+optimizer')
      await refused(withState, 'INVALID_ADAPTER')
      sameBits((await tenant.forward([SHORT])).logprobs[0]!, before.logprobs[0]!, 'logprobs after refusals')
    },
  },
]
