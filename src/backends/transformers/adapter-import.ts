// An adapter that others have trained, as one that can be trained on here: one rank, one scale, and each of the projections
// that a switch of the protocol turns on. It computes the same as before: a lower rank is filled up, a missing module is
// added, with A as a new adapter has it and B zero; another scale is folded into B. Knows folders, no servers.

import { type FormatError, unsupported } from '../../formats/format-error.ts'
import type { ModelConfig } from '../../formats/model-config.ts'
import type { ModelFiles } from '../../formats/model-folder.ts'
import { adaptableModules } from '../../formats/model-tensors.ts'
import { type PeftAdapter, readPeftAdapter } from '../../formats/peft.ts'
import type { AdapterFile, LoraConfig } from '../backend.ts'
import { Adapter } from './adapter.ts'
import { putPair, writeAdapterFolder } from './adapter-files.ts'
import { initialParams } from './adapter-init.ts'
import { adaptedProjections, adapterLayout, type Projection } from './adapter-layout.ts'
import { modulePath, modulePlaces } from './module-names.ts'

/** What fills up starts from it, so that one folder always gives the same bytes. */
const SEED = '0'

export interface ImportedAdapter extends Omit<LoraConfig, 'seed'> {
  readonly files: readonly AdapterFile[]
}

/**
 * Reads a PEFT folder and writes a new one, `target`. Throws FormatError for what is not plain LoRA on this model, and for
 * ranks above `maxRank`.
 */
export function importAdapter(
  source: string,
  target: string,
  base: ModelFiles,
  baseModel: string,
  maxRank: number,
): ImportedAdapter {
  const model = base.config
  const { modules } = readPeftAdapter(source, adaptableModules(model), base)
  const shape = shapeOf(modules, model)
  if (shape.rank > maxRank) throw tooWide(source, shape.rank, maxRank)
  const layout = adapterLayout(model, adaptedProjections(shape), shape.rank)
  const params = initialParams(layout, SEED)
  const scale = shape.alpha / shape.rank
  for (const place of modulePlaces(layout)) {
    const pair = modules.get(place.path)
    if (pair) putPair(params, place, pair, pair.scale / scale)
  }
  const files = writeAdapterFolder(target, baseModel, new Adapter(layout, shape.alpha, params), 'weights')
  return { ...shape, files }
}

type Modules = PeftAdapter['modules']

function shapeOf(modules: Modules, model: ModelConfig): Omit<LoraConfig, 'seed'> {
  const pairs = [...modules.values()]
  const widest = pairs.reduce((best, pair) => (pair.rank > best.rank ? pair : best))
  const layers = [...Array(model.layers).keys()]
  const has = (...projections: Projection[]) =>
    projections.some((projection) => layers.some((layer) => modules.has(modulePath(projection, layer))))
  return {
    rank: widest.rank,
    alpha: widest.scale * widest.rank,
    trainAttention: has('q', 'k', 'v', 'o'),
    trainMlp: has('gate', 'up', 'down'),
    trainUnembed: has('unembed'),
  }
}

const tooWide = (folder: string, rank: number, maxRank: number): FormatError =>
  unsupported(folder, `rank ${rank}`, [`ranks from 1 to ${maxRank}`])
