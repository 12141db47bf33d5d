// Writes ONNX models: enough of ModelProto to describe a graph that onnxruntime can run (opset 21, com.microsoft 1, IR 10).
// Knows protobuf and node names; knows nothing of layers, gradients or sessions.

export type ElementType = 'float32' | 'float64' | 'float16' | 'bfloat16' | 'int64' | 'int32' | 'uint8' | 'bool'
export type Dim = number | string

const ELEMENT: Record<ElementType, number> = {
  float32: 1,
  uint8: 2,
  int32: 6,
  int64: 7,
  bool: 9,
  float16: 10,
  float64: 11,
  bfloat16: 16,
}

/** Data of a tensor inside the model file, or where it lies in another file of the external-data folder. */
export type TensorSource =
  | { readonly data: Float32Array | Float64Array | BigInt64Array | Int32Array | Uint8Array }
  | { readonly external: { readonly location: string; readonly offset: number; readonly length: number } }
export type Tensor = { readonly type: ElementType; readonly dims: readonly number[] } & TensorSource

export type Attribute = number | string | readonly number[] | { readonly float: number }
export interface ValueInfo {
  readonly name: string
  readonly type: ElementType
  readonly dims: readonly Dim[]
}
interface Node {
  readonly type: string
  readonly inputs: readonly string[]
  readonly attributes: Readonly<Record<string, Attribute>>
  readonly domain: string
  readonly names: readonly string[]
}

const utf8 = new TextEncoder()

class Message {
  parts: Uint8Array[] = []
  length = 0

  raw(bytes: Uint8Array): this {
    this.parts.push(bytes)
    this.length += bytes.length
    return this
  }
  varint(value: number | bigint): this {
    let v = BigInt.asUintN(64, BigInt(value))
    const out: number[] = []
    do {
      let byte = Number(v & 127n)
      v >>= 7n
      if (v) byte |= 128
      out.push(byte)
    } while (v)
    return this.raw(Uint8Array.from(out))
  }
  int(field: number, value: number | bigint): this {
    return this.varint(field << 3).varint(value)
  }
  float(field: number, value: number): this {
    const bytes = new Uint8Array(4)
    new DataView(bytes.buffer).setFloat32(0, value, true)
    return this.varint((field << 3) | 5).raw(bytes)
  }
  bytes(field: number, bytes: Uint8Array): this {
    return this.varint((field << 3) | 2)
      .varint(bytes.length)
      .raw(bytes)
  }
  text(field: number, value: string): this {
    return this.bytes(field, utf8.encode(value))
  }
  child(field: number, message: Message): this {
    this.varint((field << 3) | 2).varint(message.length)
    for (const part of message.parts) this.parts.push(part)
    this.length += message.length
    return this
  }
  finish(): Uint8Array {
    const out = new Uint8Array(this.length)
    let at = 0
    for (const part of this.parts) {
      out.set(part, at)
      at += part.length
    }
    return out
  }
}

function tensorProto(name: string, tensor: Tensor): Message {
  const m = new Message()
  for (const d of tensor.dims) m.int(1, d)
  m.int(2, ELEMENT[tensor.type]).text(8, name)
  if ('data' in tensor) {
    const { buffer, byteOffset, byteLength } = tensor.data
    return m.bytes(9, new Uint8Array(buffer, byteOffset, byteLength))
  }
  for (const [key, value] of Object.entries(tensor.external)) {
    m.child(13, new Message().text(1, key).text(2, String(value)))
  }
  return m.int(14, 1)
}

function valueInfo({ name, type, dims }: ValueInfo): Message {
  const shape = new Message()
  for (const d of dims) shape.child(1, typeof d === 'number' ? new Message().int(1, d) : new Message().text(2, d))
  const tensor = new Message().int(1, ELEMENT[type]).child(2, shape)
  return new Message().text(1, name).child(2, new Message().child(1, tensor))
}

function attribute(name: string, value: Attribute): Message {
  const m = new Message().text(1, name)
  if (typeof value === 'number') return m.int(3, value).int(20, 2)
  if (typeof value === 'string') return m.text(4, value).int(20, 3)
  if ('float' in value) return m.float(2, value.float).int(20, 1)
  for (const v of value) m.int(8, v)
  return m.int(20, 7)
}

/** com.microsoft: onnxruntime's own operators. */
export const MICROSOFT = 'com.microsoft'

/** A graph under construction. Values are their names. */
export class Graph {
  readonly inputs: ValueInfo[] = []
  readonly outputs: ValueInfo[] = []
  readonly initializers = new Map<string, Tensor>()
  readonly #nodes: Node[] = []
  #count = 0

  /** Declares an input once; `dims` may hold names, one session then serves every size of that axis. */
  input(name: string, type: ElementType, dims: readonly Dim[]): string {
    if (!this.inputs.some((i) => i.name === name)) this.inputs.push({ name, type, dims })
    return name
  }
  output(name: string, type: ElementType, dims: readonly Dim[]): string {
    this.outputs.push({ name, type, dims })
    return name
  }
  initializer(name: string, tensor: Tensor): string {
    if (!this.initializers.has(name)) this.initializers.set(name, tensor)
    return name
  }
  floats(type: 'float32' | 'float64', dims: readonly number[], values: readonly number[]): string {
    const data = type === 'float32' ? Float32Array.from(values) : Float64Array.from(values)
    return this.initializer(`${type}[${dims}](${values})`, { type, dims, data })
  }
  ints(...values: number[]): string {
    return this.initializer(`int64[${values}]`, {
      type: 'int64',
      dims: [values.length],
      data: BigInt64Array.from(values, BigInt),
    })
  }
  int(value: number): string {
    return this.initializer(`int64(${value})`, { type: 'int64', dims: [], data: BigInt64Array.of(BigInt(value)) })
  }

  /** Appends a node with one output and returns the output's name. */
  node(type: string, inputs: readonly string[], attributes: Record<string, Attribute> = {}, domain = ''): string {
    return this.nodes(type, inputs, attributes, 1, domain)[0] as string
  }
  /** Appends a node with several outputs and returns their names. */
  nodes(
    type: string,
    inputs: readonly string[],
    attributes: Record<string, Attribute>,
    outputs: number,
    domain = '',
  ): string[] {
    const names = Array.from({ length: outputs }, () => `${type}_${this.#count++}`)
    this.#nodes.push({ type, inputs, attributes, domain, names })
    return names
  }
  get size(): number {
    return this.#nodes.length
  }
  /** Names a value so that it can be an output under a name of the caller's choice. */
  alias(value: string, name: string): string {
    this.#nodes.push({ type: 'Identity', inputs: [value], attributes: {}, domain: '', names: [name] })
    return name
  }

  build(): Uint8Array {
    const graph = new Message()
    for (const { type, inputs, attributes, domain, names } of this.#nodes) {
      const m = new Message()
      for (const i of inputs) m.text(1, i)
      for (const o of names) m.text(2, o)
      m.text(3, names[0] as string).text(4, type)
      for (const [key, value] of Object.entries(attributes)) m.child(5, attribute(key, value))
      if (domain) m.text(7, domain)
      graph.child(1, m)
    }
    graph.text(2, 'graph')
    for (const [name, tensor] of this.initializers) graph.child(5, tensorProto(name, tensor))
    for (const i of this.inputs) graph.child(11, valueInfo(i))
    for (const o of this.outputs) graph.child(12, valueInfo(o))
    const opset = (domain: string, version: number) => new Message().text(1, domain).int(2, version)
    return new Message().int(1, 10).child(7, graph).child(8, opset('', 21)).child(8, opset(MICROSOFT, 1)).finish()
  }
}
