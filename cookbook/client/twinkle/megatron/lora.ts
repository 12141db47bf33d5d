// The training of ../transformer/lora.ts on the server of this folder: what a script does is the same on every backend. The
// Megatron backend is not there yet. Until it is, this script ends with what `twinkle serve` says to server_config.yaml.

import { refusal } from '../../launch.ts'

process.env.TWINKLE_SERVER_URL ??= 'http://127.0.0.1:9000'
process.env.TWINKLE_MODEL_ID ??= 'org/large'

const isServed = await fetch(`${process.env.TWINKLE_SERVER_URL}/api/v1/healthz`).then(
  ({ ok }) => ok,
  () => false,
)
if (!isServed) {
  const said = await refusal(new URL('server_config.yaml', import.meta.url))
  const next = `No server answers at ${process.env.TWINKLE_SERVER_URL}. Next: start server.ts of this folder.`
  console.error(said === null ? next : `The Megatron backend is not there yet. ${said}`)
  process.exit(1)
}
await import('../transformer/lora.ts')
