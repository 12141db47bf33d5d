// Several targets per position as CSR, held by golden bytes: what the SDK makes of torch tensors, without a torch here. The
// bytes are compared with what our own encoder writes, and then trained on by the real server process.

import { afterAll, beforeAll, expect, it } from 'vitest'
import { tinker_public } from '../../src/generated/tinker-proto.js'
import { EMBEDDED_MODEL } from '../../src/server/config-fields.ts'
import { datum, float32, int64, RawClient } from './raw-client.ts'
import { type ServerProcess, startServerProcess } from './server-process.ts'

const TOKENS = [20, 30, 40, 50, 60]
const ROWS = 5
const COLUMNS = 7
/** Row, column, target, weight. */
const CELLS = [
  [0, 1, 21, 0.5],
  [0, 4, 22, 0.25],
  [2, 0, 23, 1],
  [4, 6, 24, -0.5],
] as const

// SDK 0.38.0, torch 2.15.0: Datum(ModelInput.from_ints(TOKENS), {target_tokens, weights}) of the dense tensors, serialised.
const GOLDEN =
  '0a180a160a14140000001e00000028000000320000003c000000128f010a0d7461726765745f746f6b656e73127e12760a2015000000000000001600' +
  '0000000000001700000000000000180000000000000012300000000000000000020000000000000002000000000000000300000000000000030000' +
  '000000000004000000000000001a200100000000000000040000000000000000000000000000000600000000000000180222020507127' +
  '90a0777656967687473126e12660a100000003f0000803e0000803f000000bf1230000000000000000002000000000000000200000000000000030' +
  '0000000000000030000000000000004000000000000001a200100000000000000040000000000000000000000000000000600000000000000180122' +
  '020507'

const crow = Array.from({ length: ROWS + 1 }, (_, row) => CELLS.filter(([r]) => r < row).length)
const csr = (values: tinker_public.ITensor): tinker_public.ITensor => ({
  sparse_csr: {
    values: values.dense as Uint8Array,
    crow_indices: int64(crow).dense as Uint8Array,
    col_indices: int64(CELLS.map(([, column]) => column)).dense as Uint8Array,
  },
  dtype: values.dtype as tinker_public.DType,
  shape: [ROWS, COLUMNS],
})
const sparse = datum(TOKENS, {
  target_tokens: csr(int64(CELLS.map(([, , target]) => target))),
  weights: csr(float32(CELLS.map(([, , , weight]) => weight))),
})
const filled = (index: 2 | 3) => {
  const cells = Array<number>(ROWS * COLUMNS).fill(0)
  for (const cell of CELLS) cells[cell[0] * COLUMNS + cell[1]] = cell[index]
  return cells
}
const dense = datum(TOKENS, {
  target_tokens: { ...int64(filled(2)), shape: [ROWS, COLUMNS] },
  weights: { ...float32(filled(3)), shape: [ROWS, COLUMNS] },
})

let server: ServerProcess
beforeAll(async () => {
  server = await startServerProcess()
})
afterAll(() => server.stop())

it('are the bytes that the SDK makes of torch tensors', () => {
  expect(Buffer.from(tinker_public.Datum.encode(sparse).finish()).toString('hex')).toBe(GOLDEN)
})

it('train like the same targets written out', async () => {
  const client = new RawClient(server.url, 'tml-sparse')
  const golden = tinker_public.Datum.decode(Buffer.from(GOLDEN, 'hex'))
  const [got, wanted] = await Promise.all(
    [golden, dense].map(async (each) => (await client.model(EMBEDDED_MODEL.name)).train(each)),
  )
  expect(got?.loss).toBeCloseTo(wanted?.loss as number, 5)
  expect(got?.outputs).toEqual(wanted?.outputs)
  expect(got?.outputs[0]).toMatchObject({ logprobs: { shape: [ROWS, COLUMNS] } })
})
