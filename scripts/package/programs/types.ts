// What the types of every entry say to a strict program: each line marked as an error has to be one, so none is `any`.

import { MultiLoraTransformersModel as Local, startServer } from 'twinkle-ts'
import { defineBackend } from 'twinkle-ts/backends'
import { initTwinkleClient } from 'twinkle-ts/client'
import { initTinkerCompatClient } from 'twinkle-ts/patch'
import { loadConfig } from 'twinkle-ts/server'
import { ModelInput, type ServiceClient } from 'twinkle-ts/tinker'

export const input: ModelInput = ModelInput.fromInts([1, 2])
export const port: Promise<number> = loadConfig().then(({ config }) => config.port)
export const client: ServiceClient | Promise<ServiceClient> = initTinkerCompatClient({
  baseUrl: 'http://a',
  apiKey: 'k',
})

// @ts-expect-error: tokens are numbers
ModelInput.fromInts(['a'])
// @ts-expect-error: a model is named by a string
new Local(7)
// @ts-expect-error: not without a configuration
startServer()
// @ts-expect-error: not without a name
defineBackend({})
// @ts-expect-error: an address is a string
initTwinkleClient({ baseUrl: 7 })
