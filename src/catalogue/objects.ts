// Everything that can be made by name and then called, by the kinds that Twinkle's processor routes have. Makes objects; what
// owns them, and how long they last, is others' knowledge.

import { Arguments, type Kwargs } from './arguments.ts'
import { invalidArgument, unknownName, unsupportedName } from './catalogue-error.ts'
import { BaseDataset } from './datasets/base-dataset.ts'
import { Dataset } from './datasets/dataset.ts'
import { IterableDataset, LazyDataset } from './datasets/lazy-dataset.ts'
import { IterablePackingDataset, PackingDataset } from './datasets/packing-dataset.ts'
import { DataLoader, type Loadable, loaderOptions } from './loaders/data-loader.ts'
import type { CatalogueObject, World } from './object.ts'
import type { Pace } from './pace.ts'
import { createPreprocessor } from './preprocessors/index.ts'
import { createProcessor } from './processors/index.ts'
import { createReward } from './rewards/index.ts'
import { isRow, type Row } from './rows.ts'

const DATASETS: Readonly<Record<string, new (className: string, world: World) => BaseDataset>> = {
  Dataset,
  IterableDataset,
  IterablePackingDataset,
  LazyDataset,
  PackingDataset,
}

export interface Making {
  readonly className: string
  readonly kwargs: Kwargs
  readonly world: World
  /** The caller's object of this id. Throws where there is none. */
  readonly object: (id: string) => CatalogueObject
  readonly pace: Pace
}

type Make = (making: Making) => CatalogueObject | Promise<CatalogueObject>

const MAKERS: Readonly<Record<string, Make>> = {
  dataset: async ({ className, kwargs, world, pace }) => {
    const Kind = Object.hasOwn(DATASETS, className) ? DATASETS[className] : undefined
    if (!Kind) throw unknownName('data set', className, Object.keys(DATASETS))
    return new Kind(className, world).open(new Arguments('data set', className, kwargs), pace)
  },
  dataloader: ({ className, kwargs, object }) => {
    if (className !== 'DataLoader') throw unknownName('loader', className, ['DataLoader'])
    const { dataset: id } = kwargs
    const dataset = typeof id === 'string' ? object(id) : null
    if (!(dataset instanceof BaseDataset))
      throw invalidArgument('loader', className, 'dataset', id, 'a data set of yours (pid:...)')
    return new DataLoader(dataset as Loadable, loaderOptions(new Arguments('loader', className, kwargs)))
  },
  preprocessor: ({ className, kwargs }) => {
    const preprocess = createPreprocessor(className, kwargs)
    return callable(className, ['rows'], ({ rows }) => listOf(className, 'rows', rows).map(preprocess))
  },
  processor: ({ className, kwargs }) => {
    const processor = createProcessor(className, kwargs)
    return callable(className, ['inputs'], ({ inputs }) => processor.process(inputs))
  },
  reward: ({ className, kwargs }) => {
    const reward = createReward(className, kwargs)
    return callable(className, ['trajectories', 'ground_truths'], ({ trajectories, ground_truths: truths }) =>
      reward(
        listOf(className, 'trajectories', trajectories),
        truths == null ? undefined : listOf(className, 'ground_truths', truths),
      ),
    )
  },
  template: ({ className, kwargs, world }) => {
    const template = world.template(className, kwargs)
    const encode = async (given: unknown, prompt: unknown, pace: Pace) => {
      const rows: Row[] = []
      for (const row of listOf(className, 'trajectories', given)) {
        rows.push(...(await template.encode(row, prompt === true, pace)))
      }
      return rows
    }
    return {
      className,
      functions: {
        encode: async ({ trajectory, add_generation_prompt: prompt }, pace) =>
          (await encode([trajectory], prompt, pace))[0],
        batch_encode: ({ trajectories, add_generation_prompt: prompt }, pace) => encode(trajectories, prompt, pace),
        decode: ({ token_ids: ids }) => template.decode(idsOf(className, ids)),
      },
    }
  },
  weight_loader: ({ className }) => {
    throw unsupportedName('weight loader', className, 'weights are loaded by save and load, and by adapter_uri', [])
  },
}

export const OBJECT_TYPES = Object.keys(MAKERS)

/** Throws CatalogueError, and what `making` throws. */
export async function createObject(type: string, making: Making): Promise<CatalogueObject> {
  const make = Object.hasOwn(MAKERS, type) ? MAKERS[type] : undefined
  if (!make) throw unknownName('processor type', type, OBJECT_TYPES)
  return make(making)
}

/** An object that is only called. */
function callable(className: string, takes: readonly string[], call: (kwargs: Kwargs) => unknown): CatalogueObject {
  return {
    className,
    functions: {
      __call__: (kwargs) => {
        const args = new Arguments('function', '__call__', kwargs)
        args.ignore(...takes)
        args.end()
        return call(kwargs)
      },
    },
  }
}

function listOf(className: string, argument: string, given: unknown): Row[] {
  if (Array.isArray(given) && given.every(isRow)) return given
  throw invalidArgument('function of', className, argument, given, 'a list of objects')
}

function idsOf(className: string, given: unknown): number[] {
  if (Array.isArray(given) && given.every((id) => Number.isSafeInteger(id) && id >= 0)) return given
  throw invalidArgument('function of', className, 'token_ids', given, 'a list of token ids')
}
