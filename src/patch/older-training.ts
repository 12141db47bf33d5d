// A forward or forward_backward request of this SDK, which is protobuf, as the JSON that SDK 0.16 sent.

import { TinkerError } from '../client/tinker/errors.ts'
import { decodeInt32, decodeTensor } from '../client/tinker/tensor-wire.ts'
import { tinker_public as pb } from '../generated/tinker-proto.js'

/** Throws TinkerError for what had no form yet: images, audio. */
export function trainingJson(bytes: Uint8Array): { route: string; body: unknown } {
  const { model_id, seq_id, data, loss_fn, loss_fn_config, forward_only } = pb.ForwardBackwardRequest.decode(
    // A copy: Node gives a view of a buffer that others share.
    new Uint8Array(bytes),
  )
  const hasConfig = Object.keys(loss_fn_config).length > 0
  const input = { data: data.map(datumJson), loss_fn, loss_fn_config: hasConfig ? loss_fn_config : null }
  const route = forward_only ? 'forward' : 'forward_backward'
  return { route, body: { [`${route}_input`]: input, model_id, seq_id } }
}

function datumJson({ model_input, loss_fn_inputs }: pb.Datum.$Properties) {
  const inputs = Object.entries(loss_fn_inputs ?? {}).map(([name, tensor]) => [name, tensorJson(name, tensor)])
  return { loss_fn_inputs: Object.fromEntries(inputs), model_input: { chunks: (model_input ?? []).map(chunkJson) } }
}

function chunkJson({ encoded_text }: pb.Chunk.$Properties) {
  if (encoded_text) return { tokens: Array.from(decodeInt32(encoded_text.tokens ?? new Uint8Array(0))) }
  throw new TinkerError('This server is older than images and audio in training data. Next: send tokens only.')
}

function tensorJson(name: string, tensor: pb.Tensor.$Properties) {
  if (tensor.sparse_csr) {
    throw new TinkerError(`This server is older than sparse tensors (${name}). Next: send it dense.`)
  }
  const dtype = tensor.dtype === pb.DType.DTYPE_INT64 ? 'int64' : 'float32'
  const { data, shape } = decodeTensor(tensor)
  return { data: Array.from(data), dtype, shape }
}
