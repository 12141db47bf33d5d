// Trains on the server at the address given, and ends with code 1 when the loss does not fall.

import { ModelInput, ServiceClient } from 'twinkle-ts/tinker'

const service = new ServiceClient({ baseUrl: process.argv[2], apiKey: 'tml-package' })
const training = await service.createLoraTrainingClient({ baseModel: 'twinkle/tiny', rank: 8 })
const tokens = (await training.getTokenizer()).encode('Twinkle, twinkle, little star')
const lossFnInputs = { target_tokens: tokens.slice(1), weights: tokens.slice(1).map(() => 1) }
const data = [{ modelInput: ModelInput.fromInts(tokens.slice(0, -1)), lossFnInputs }]
const losses = []
for (let step = 0; step < 4; step++) {
  const { metrics } = await training.forwardBackward(data, 'cross_entropy')
  await training.optimStep({ learningRate: 2e-3 })
  losses.push(metrics['loss:sum'])
}
await service.close()
if (!(losses.at(-1) < losses[0])) throw new Error(`the loss does not fall: ${losses.join(' ')}`)
