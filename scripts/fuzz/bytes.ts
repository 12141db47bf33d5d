// Bodies as bytes: JSON that no JSON.stringify writes (a key twice, numbers beyond everything, a hundred thousand brackets),
// compression that lies, and protobuf of the training call with bytes turned, cut, doubled and put in.

import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { datum, float32, int64 } from '../../openapi/conformance/raw-client.ts'
import { tinker_public } from '../../src/generated/tinker-proto.js'
import type { Pool } from './values.ts'

const HUGE_NUMBERS = ['1e999', '-1e999', '9'.repeat(400), '-0', '1e-999', '0.'.padEnd(400, '1'), '18446744073709551616']
const NESTED = 100_000

/** The text of a JSON value, now and then maltreated. */
export function jsonBytes(value: fc.Arbitrary<unknown>): fc.Arbitrary<Buffer> {
  const text = value.map((each) => JSON.stringify(each) ?? '')
  const cut = fc.tuple(text, fc.nat(1000)).map(([each, at]) => each.slice(0, (each.length * at) / 1000))
  const huge = fc
    .tuple(text, fc.constantFrom(...HUGE_NUMBERS))
    .map(([each, number]) => each.replace(/:-?\d[^,}\]]*/, `:${number}`))
  const twice = text.map((each) => each.replace(/^\{("[^"]*":(?:[^,{}[\]"]+|"[^"]*"))/, '{$1,$1'))
  return fc.oneof(
    { weight: 60, arbitrary: text.map((each) => Buffer.from(each)) },
    { weight: 4, arbitrary: huge.map((each) => Buffer.from(each)) },
    { weight: 3, arbitrary: twice.map((each) => Buffer.from(each)) },
    { weight: 2, arbitrary: cut.map((each) => Buffer.from(each)) },
    {
      weight: 1,
      arbitrary: fc.constantFrom(...['[', '{"a":', '{"tags":['].map((open) => Buffer.from(open.repeat(NESTED)))),
    },
    { weight: 1, arbitrary: text.map((each) => Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), Buffer.from(each)])) },
    { weight: 1, arbitrary: text.map((each) => Buffer.concat([Buffer.from(each), Buffer.from([0xff, 0xfe])])) },
    { weight: 1, arbitrary: mutated(text.map((each) => Buffer.from(each))) },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 200 }).map((each) => Buffer.from(each)) },
  )
}

/** Training calls in protobuf: good ones, and good ones with a few bytes changed. */
export function trainingBytes(pool: Pool): fc.Arbitrary<Buffer> {
  const good = trainingCall(pool)
  return fc.oneof(good, mutated(good))
}

function trainingCall(pool: Pool): fc.Arbitrary<Buffer> {
  const length = fc.integer({ min: 1, max: 20 })
  const tokens = length.chain((size) =>
    fc.array(fc.integer({ min: 0, max: 511 }), { minLength: size, maxLength: size }),
  )
  const one = fc
    .tuple(tokens, fc.double({ min: -2, max: 2, noNaN: true }), fc.boolean())
    .map(([row, weight, isPolicy]) => {
      const same = float32(row.map(() => weight))
      const targets = int64(row)
      return datum(
        row,
        isPolicy
          ? { target_tokens: targets, logprobs: same, advantages: same }
          : { target_tokens: targets, weights: same },
      )
    })
  return fc
    .record({
      model_id: fc.constantFrom(...((pool.model_id ?? ['none']) as string[])),
      seq_id: fc.constantFrom(0, 0, 0, 1, 2, 40),
      data: fc.array(one, { minLength: 1, maxLength: 4 }),
      loss_fn: fc.constantFrom('cross_entropy', 'ppo', 'importance_sampling', 'cispo', 'dro', 'gspo', 'custom', ''),
      forward_only: fc.boolean(),
    })
    .map((call) => Buffer.from(tinker_public.ForwardBackwardRequest.encode(call).finish()))
}

/** One to six changes: a byte turned, a part cut out, doubled, or others put in. */
function mutated(good: fc.Arbitrary<Buffer>): fc.Arbitrary<Buffer> {
  const change = fc.record({
    kind: fc.constantFrom('turn', 'cut', 'double', 'insert'),
    at: fc.nat(10_000),
    size: fc.integer({ min: 1, max: 16 }),
    bytes: fc.uint8Array({ minLength: 1, maxLength: 12 }),
  })
  return fc.tuple(good, fc.array(change, { minLength: 1, maxLength: 6 })).map(([bytes, changes]) =>
    changes.reduce((body, { kind, at, size, bytes: put }) => {
      const from = body.length === 0 ? 0 : at % body.length
      const [before, middle, after] = [
        body.subarray(0, from),
        body.subarray(from, from + size),
        body.subarray(from + size),
      ]
      if (kind === 'cut') return Buffer.concat([before, after])
      if (kind === 'double') return Buffer.concat([before, middle, middle, after])
      if (kind === 'insert') return Buffer.concat([before, put, middle, after])
      return Buffer.concat([before, middle.map((byte, i) => byte ^ (put[i % put.length] as number)), after])
    }, bytes),
  )
}

/** 64 MB of zeros in 64 kB. */
export const GZIP_BOMB = gzipSync(Buffer.alloc(64 * 2 ** 20))
/** A zstd frame of run-length blocks: 128 kB each, of four bytes. */
export const ZSTD_BOMB = Buffer.concat([
  Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x50]),
  Buffer.concat(Array(2048).fill(Buffer.from([0x02, 0x00, 0x10, 0x00]))),
])
