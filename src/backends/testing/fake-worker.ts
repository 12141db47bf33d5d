// A worker process whose engine is a fake, to test processes without models. The model's name can order trouble.

import { writeSync } from 'node:fs'
import { connect } from 'node:net'
import { engineError } from '../engine-errors.ts'
import { runWorker } from '../worker-main.ts'
import { FakeEngine } from './fake-engine.ts'

runWorker(async (model, _options, log) => {
  // A test sees this process end when its own end of this socket closes.
  if (model.name === 'tethered') connect(Number(model.path), '127.0.0.1').on('error', () => {})
  log(`opening ${model.name}`)
  if (model.name === 'secrets') log(Object.keys(process.env).join(' '))
  if (model.name === 'broken') throw engineError('INVALID_MODEL', 'the model is broken')
  if (model.name === 'exits') process.exit(7)
  const engine = new FakeEngine({ info: { model: model.name } })
  // And goes on, deaf to the end of its socket.
  if (model.name === 'babbles') {
    engine.publish = async () => {
      writeSync(3, Buffer.alloc(64, 0xff))
      for (;;);
    }
  }
  if (model.name === 'dies') engine.publish = () => process.kill(process.pid, 'SIGKILL') as never
  return engine
})
