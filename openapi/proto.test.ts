// Holds the two descriptions of the wire together: every field of tinker_public.proto has its like in openapi/components/,
// with the same name, type and presence, or stands below with the form that JSON gives it, or the reason why it has none.

import { readFileSync } from 'node:fs'
import protobuf from 'protobufjs'
import { describe, expect, it } from 'vitest'
import { tinker_public as wire } from '../src/generated/tinker-proto.js'
import { readSchemas, type Schema } from './components.ts'

/** Fields whose JSON form differs: where it stands (`Schema.property`) and its type, in the notation of `jsonType`. */
const otherForms: Readonly<Record<string, readonly [at: string, type: string]>> = {
  // Raw little-endian bytes in protobuf, lists in JSON.
  'EncodedTextChunk.tokens': ['EncodedTextChunk.tokens', 'integer[]'],
  'SampledSequence.tokens': ['SampledSequence.tokens', 'integer[]'],
  'SampledSequence.logprobs': ['SampledSequence.logprobs', '(number|null)[]'],
  'SampleResponse.prompt_logprobs': ['SampleResponse.prompt_logprobs', '(number|null)[]'],
  // Raw bytes in protobuf, base64 in JSON.
  'ImageChunk.data': ['ImageChunk.data', 'base64'],
  'DmelChunk.dmel': ['DmelChunk.dmel', 'base64'],
  // A tensor is {data, dtype, shape} in JSON, with the two index lists beside them when it is sparse.
  'Tensor.dense': ['TensorData.data', 'number[]'],
  'Tensor.dtype': ['TensorData.dtype', 'float32|int64'],
  'Tensor.shape': ['TensorData.shape', 'integer[]'],
  'SparseCsr.values': ['TensorData.data', 'number[]'],
  'SparseCsr.crow_indices': ['TensorData.sparse_crow_indices', 'integer[]'],
  'SparseCsr.col_indices': ['TensorData.sparse_col_indices', 'integer[]'],
  'Datum.loss_fn_inputs': ['Datum.loss_fn_inputs', '{TensorData}'],
  'SampleResponse.target_prompt_logprobs': ['SampleResponse.target_prompt_logprobs', 'TensorOutput'],
  'PromptAltTokens.tokens': ['PromptAltTokens.tokens', 'TensorOutput'],
  'PromptAltTokens.logprobs': ['PromptAltTokens.logprobs', 'TensorOutput'],
  // Outputs are batched in protobuf; JSON has one object of tensors for each datum.
  'ForwardBackwardOutput.loss_fn_outputs': ['ForwardBackwardOutput.loss_fn_outputs', '{TensorOutput}[]'],
  'BatchedTensor.data': ['TensorOutput.data', '(number|null)[]'],
  'BatchedTensor.dtype': ['TensorOutput.dtype', 'float32|int64'],
  'BatchedTensor.trailing_shape': ['TensorOutput.shape', 'integer[]'],
  // Checked by the JSON schema, free text in protobuf.
  'ImageChunk.format': ['ImageChunk.format', 'png|jpeg'],
  // JSON wraps what protobuf has flat, and has one config whose values are numbers or text.
  'ForwardBackwardRequest.data': ['ForwardBackwardInput.data', 'Datum[]'],
  'ForwardBackwardRequest.loss_fn': ['ForwardBackwardInput.loss_fn', 'string'],
  'ForwardBackwardRequest.loss_fn_config': ['ForwardBackwardInput.loss_fn_config', '{number|string}'],
  'ForwardBackwardRequest.loss_fn_config_v2': ['ForwardBackwardInput.loss_fn_config', '{number|string}'],
  'Datum.model_input': ['Datum.model_input', 'ModelInput'],
  // Rows of pairs in JSON, two matrices in protobuf.
  'SampleResponse.topk_prompt_logprobs': ['SampleResponse.topk_prompt_logprobs', 'TopkLogprobs'],
  'SampledSequence.topk_sampled_logprobs': ['SampledSequence.topk_sampled_logprobs', 'TopkLogprobs'],
  // One field of several forms in JSON, a choice of fields in protobuf.
  'SamplingParams.stop_strs': ['SamplingParams.stop', 'string|string[]|integer[]'],
  'SamplingParams.stop_tokens': ['SamplingParams.stop', 'string|string[]|integer[]'],
}

/** Fields without a JSON form of their own, and why. */
const binaryOnly: Readonly<Record<string, string>> = {
  'TopkLogprobs.token_ids': 'first numbers of the pairs',
  'TopkLogprobs.logprobs': 'second numbers of the pairs',
  'TopkLogprobs.k': 'length of a row',
  'TopkLogprobs.length': 'number of rows',
  'Tensor.sparse_csr': 'its three fields stand in the tensor itself',
  'BatchedTensor.offsets': 'JSON does not batch datums',
  'ArrayRecord.type_tag': 'JSON does not batch datums',
  'ArrayRecord.fields': 'JSON does not batch datums',
  'ArrayRecord.num_datums': 'JSON does not batch datums',
  'LossConfigValue.number': 'a JSON value shows its type',
  'LossConfigValue.text': 'a JSON value shows its type',
  'Chunk.encoded_text': 'a chunk is told by its fields',
  'Chunk.image': 'a chunk is told by its fields',
  'Chunk.dmel': 'a chunk is told by its fields',
  'ImageChunk.override_dimensions': 'no SDK sets it',
  'ImageDimensions.width': 'no SDK sets it',
  'ImageDimensions.height': 'no SDK sets it',
  'StopStrings.values': 'a list of text',
  'StopTokens.values': 'a list of integers',
}

/** Fields without presence in protobuf whose zero is what absence means in JSON. */
const absentIsZero = [
  'ForwardBackwardRequest.forward_only',
  'ForwardBackwardRequest.seq_id',
  'SampleResponse.prompt_cache_hit_tokens',
]

/** Properties of these schemas that only JSON has. */
const jsonOnly = [
  'EncodedTextChunk.type',
  'DmelChunk.type',
  'ForwardBackwardRequest.forward_backward_input',
  'ForwardBackwardRequest.type',
  'ImageChunk.type',
  'SampleResponse.type',
]

/** How JSON spells the values of an enum; null = answers in protobuf only. */
const enums: Readonly<Record<string, Readonly<Record<string, string | null>>>> = {
  StopReason: { STOP_REASON_STOP: 'stop', STOP_REASON_LENGTH: 'length' },
  DType: {
    DTYPE_UNSPECIFIED: null,
    DTYPE_FLOAT32: 'float32',
    DTYPE_INT64: 'int64',
    DTYPE_INT32: null,
    DTYPE_BFLOAT16: null,
  },
}

const schemas = readSchemas()
const source = readFileSync(new URL('tinker_public.proto', import.meta.url), 'utf8')
const proto = protobuf.parse(source, { keepCase: true }).root.resolveAll().lookup('tinker_public') as protobuf.Namespace
const messages = proto.nestedArray.filter((item) => item instanceof protobuf.Type)
const fields = messages.flatMap((message) =>
  message.fieldsArray.map((field) => ({ name: `${message.name}.${field.name}`, field })),
)
const placeOf = (name: string) => otherForms[name]?.[0] ?? name
const withJson = fields.filter(({ name }) => !(name in binaryOnly))

function propertyAt(place: string): { schema: Schema; isRequired: boolean } {
  const [schemaName, property] = place.split('.') as [string, string]
  const owner = schemas[schemaName]
  const schema = owner?.properties?.[property]
  if (schema === undefined) throw new Error(`openapi/components has no ${place}`)
  return { schema, isRequired: owner?.required?.includes(property) ?? false }
}

/** Compact notation of a JSON type: `integer[]`, `{number}`, `Datum`, `stop|length`; null is left out at the top. */
function jsonType(schema: Schema): string {
  if (schema.$ref !== undefined) return refType(schema.$ref)
  if (schema.anyOf !== undefined) return forms(schema.anyOf).map(jsonType).join('|')
  if (schema.enum !== undefined) return schema.enum.filter((value) => value !== null).join('|')
  if (schema.contentEncoding !== undefined) return schema.contentEncoding
  return [schema.type]
    .flat()
    .filter(isNotNull)
    .map((type) => {
      if (type === 'array') return `${grouped(elementType(schema.items!))}[]`
      if (type === 'object') return `{${jsonType(schema.additionalProperties as Schema)}}`
      return type
    })
    .join('|')
}

const forms = (anyOf: readonly Schema[]) => anyOf.filter((form) => form.type !== 'null')
const isNotNull = (type: unknown) => type !== 'null'
const grouped = (type: string) => (type.includes('|') ? `(${type})` : type)
const elementType = (schema: Schema) =>
  Array.isArray(schema.type) && schema.type.includes('null') ? `${jsonType(schema)}|null` : jsonType(schema)

/** An object keeps its name; a name for a plain value stands for its type. */
function refType(ref: string): string {
  const name = ref.split('/').at(-1)!
  const target = schemas[name]!
  if (name === 'Int64') return 'integer'
  if (name === 'TopkLogprobs' || target.properties !== undefined || name === 'Chunk') return name
  return jsonType(target)
}

const scalars: Readonly<Record<string, string>> = {
  string: 'string',
  bool: 'boolean',
  double: 'number',
  float: 'number',
  int32: 'integer',
  int64: 'integer',
  uint32: 'integer',
  uint64: 'integer',
}

/** The same notation for a protobuf field. */
function protoType(field: protobuf.Field): string {
  const values = enums[field.type]
  const single = values
    ? Object.values(values)
        .filter((value) => value !== null)
        .join('|')
    : (scalars[field.type] ?? field.type)
  if (field instanceof protobuf.MapField) return `{${single}}`
  return field.repeated ? `${single}[]` : single
}

const hasPresence = (field: protobuf.Field) => field.hasPresence && !(field.resolvedType instanceof protobuf.Type)
const isImplicitScalar = (field: protobuf.Field) => !field.hasPresence && !field.repeated && !field.map

describe('tinker_public.proto and openapi/components', () => {
  it.each(withJson)('$name has its like in JSON', ({ name, field }) => {
    const { schema } = propertyAt(placeOf(name))
    expect(jsonType(schema)).toBe(otherForms[name]?.[1] ?? protoType(field))
  })

  it('asks of JSON no field that protobuf may leave out', () => {
    const mayBeAbsent = withJson.filter(({ name, field }) => hasPresence(field) && !(name in otherForms))
    const required = mayBeAbsent.filter(({ name }) => propertyAt(placeOf(name)).isRequired)
    expect(mayBeAbsent.length).toBeGreaterThan(0)
    expect(required.map(({ name }) => name)).toEqual([])
  })

  it('names every optional JSON field whose absence protobuf writes as zero', () => {
    const optional = withJson.filter(({ name, field }) => {
      return isImplicitScalar(field) && !(name in otherForms) && !propertyAt(name).isRequired
    })
    expect(optional.map(({ name }) => name).sort()).toEqual(absentIsZero)
  })

  it('has no JSON field that protobuf lacks', () => {
    const places = new Set([...withJson.map(({ name }) => placeOf(name)), ...jsonOnly])
    const owners = new Set([...places].map((place) => place.split('.')[0]!))
    const properties = [...owners].flatMap((owner) =>
      Object.keys(schemas[owner]!.properties!).map((property) => `${owner}.${property}`),
    )
    expect(properties.filter((place) => !places.has(place) && !/^TensorOutput\.sparse_/.test(place))).toEqual([])
  })

  it('holds the chunks that protobuf carries in one choice', () => {
    const inJson = schemas.Chunk!.anyOf!.map(jsonType)
    const inProto = proto.lookupType('Chunk').fieldsArray.map((field) => field.type)
    expect(inJson.filter((name) => name !== 'ImageAssetPointerChunk').sort()).toEqual(inProto.sort())
  })

  it('spells every enum value', () => {
    for (const [name, values] of Object.entries(enums)) {
      expect(Object.keys(values).sort()).toEqual(Object.keys(proto.lookupEnum(name).values).sort())
    }
  })

  it('keeps no entry for a field that is gone', () => {
    const names = new Set(fields.map(({ name }) => name))
    const entries = [...Object.keys(otherForms), ...Object.keys(binaryOnly), ...absentIsZero]
    expect(entries.filter((name) => !names.has(name))).toEqual([])
  })
})

const datum =
  '0a100a0e0a0c01000000020000000300000012300a0d7461726765745f746f6b656e73121f0a180200000000000000030000000000000004000000000000001802220103121e0a077765696768747312130a0c000000000000803f0000803f1801220103'
const head = `0a096d3a747261696e3a3010011a64${datum}`
const betaEntry = '0a0462657461119a9999999999a93f'
const betaEntryV2 = '0a04626574611209099a9999999999a93f'
const sequences =
  '0a14120805000000060000001a08000000bf000080bf0a0e08011204070000001a04000000c0120c0000c07f000080bf000000c0'

/** Written by the Python SDK 0.38.0. */
const goldens = {
  crossEntropy: [
    wire.ForwardBackwardRequest,
    `${head}220d63726f73735f656e74726f70792a0f${betaEntry}30013a11${betaEntryV2}`,
  ],
  crossEntropyBefore026: [wire.ForwardBackwardRequest, `${head}220d63726f73735f656e74726f70792a0f${betaEntry}3001`],
  customLoss: [wire.ForwardBackwardRequest, `${head}2206637573746f6d3a130a076c6f73735f6964120812066c6f73732d31`],
  provenance: [
    wire.ForwardBackwardRequest,
    `0a096d3a747261696e3a3010011a8a01${datum}1a070a050a017318021a0712050a0173180122090a070a017310011801220712050a017318022210737461626c655f7265696e666f7263652a130a086b6c5f636f656666119a9999999999b93f3a150a086b6c5f636f6566661209099a9999999999b93f`,
  ],
  output: [
    wire.ForwardBackwardOutput,
    '0a0f546f7263684c6f737352657475726e12530a0f546f7263684c6f737352657475726e123e0a086c6f6770726f627312320a14000080bf000000c0000040c0000080c00000a0c0121800000000000000000c000000000000001400000000000000180118021a130a086c6f73733a73756d110000000000000440',
  ],
  sample: [wire.SampleResponse, sequences],
  sampleWithScores: [
    wire.SampleResponse,
    '0a14120805000000060000001a08000000bf000080bf0a2808011204070000001a04000000c022180a0807000000090000001208000000c0000040c018022001120c0000c07f000080bf000000c02a100a0800000000000040c0180122020201322c0a180a100400000000000000050000000000000018022202020112100a08000080bf000000c0180122020201',
  ],
} as const

const bytesOf = (hex: string) => Uint8Array.from(Buffer.from(hex, 'hex'))
/** Bytes fields lie unaligned in their message: copied before they are read as numbers. */
const int32s = (bytes: Uint8Array) => [...new Int32Array(bytes.slice().buffer)]
const float32s = (bytes: Uint8Array) => [...new Float32Array(bytes.slice().buffer)]

describe('the generated protobuf code', () => {
  it.each(Object.entries(goldens))('reads and writes the golden bytes: %s', (_name, [message, hex]) => {
    const decoded = message.decode(bytesOf(hex))
    expect(Buffer.from(message.encode(decoded as never).finish()).toString('hex')).toBe(hex)
  })

  it('reads a request', () => {
    const request = wire.ForwardBackwardRequest.decode(bytesOf(goldens.crossEntropy[1]))
    expect(request).toMatchObject({ model_id: 'm:train:0', seq_id: 1, loss_fn: 'cross_entropy', forward_only: true })
    expect(request.loss_fn_config).toEqual({ beta: 0.05 })
    expect(request.loss_fn_config_v2?.beta?.number).toBe(0.05)
    const [example] = request.data!
    expect(int32s(example!.model_input![0]!.encoded_text!.tokens!)).toEqual([1, 2, 3])
    expect(example!.loss_fn_inputs!.target_tokens!.shape).toEqual([3])
    expect(float32s(example!.loss_fn_inputs!.weights!.dense!)).toEqual([0, 1, 1])
  })

  it('reads 64-bit integers as numbers', () => {
    const output = wire.ForwardBackwardOutput.decode(bytesOf(goldens.output[1]))
    expect(output.loss_fn_outputs![0]!.num_datums).toBe(2)
  })

  it('refuses an integer that a number cannot hold', () => {
    const record = wire.ArrayRecord.encode({ num_datums: 2 ** 60 }).finish()
    expect(() => wire.ArrayRecord.decode(record)).toThrow('integer beyond 2^53')
  })

  it('refuses bytes that are no message', () => {
    expect(() => wire.ForwardBackwardRequest.decode(bytesOf('0aff'))).toThrow()
  })
})
