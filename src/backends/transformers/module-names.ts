// Where the projections of a decoder are in the module tree of Hugging Face's models, and where their adapters' matrices
// lie in a flat buffer. Knows names and offsets only.

import type { AdapterLayout, Projection } from './adapter-layout.ts'

const MODULES: Readonly<Record<Projection, string>> = {
  q: 'self_attn.q_proj',
  k: 'self_attn.k_proj',
  v: 'self_attn.v_proj',
  o: 'self_attn.o_proj',
  gate: 'mlp.gate_proj',
  up: 'mlp.up_proj',
  down: 'mlp.down_proj',
  unembed: 'lm_head',
}

/** `model.layers.3.self_attn.q_proj`; the unembedding, `lm_head`, has no layer. */
export const modulePath = (projection: Projection, layer: number): string =>
  projection === 'unembed' ? MODULES.unembed : `model.layers.${layer}.${MODULES[projection]}`

/** The pair of one module: offsets of A [rank, in] and of transposed B [rank, out], in elements. */
export interface ModulePlace {
  readonly path: string
  readonly in: number
  readonly out: number
  readonly a: number
  readonly b: number
}

export function modulePlaces({ rank, sections }: AdapterLayout): ModulePlace[] {
  return sections.flatMap(({ projection, layers, a, b, in: inputs, out }) =>
    Array.from({ length: layers }, (_, layer) => ({
      path: modulePath(projection, layer),
      in: inputs,
      out,
      a: a + layer * rank * inputs,
      b: b + layer * rank * out,
    })),
  )
}
