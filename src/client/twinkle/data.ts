// Data sets, loaders and processors that live on a server: rows stay there until a loader hands out batches.

import type { CallOptions, Connection } from './connection.ts'
import type { Row } from './model.ts'
import type { Kwargs } from './names.ts'
import { type HasRemote, RemoteObject } from './remote-object.ts'

export interface DatasetMeta {
  /** A file of the server's data folder, or a name. */
  readonly datasetId?: string
  readonly subsetName?: string
  readonly split?: string
  readonly dataSlice?: { readonly start: number; readonly stop: number; readonly step?: number } | readonly number[]
  /** Rows of one's own. */
  readonly data?: readonly Row[]
}

export type DatasetClass = 'Dataset' | 'LazyDataset' | 'IterableDataset' | 'PackingDataset' | 'IterablePackingDataset'

/** A description of data, as the wire has it: tagged text. */
export function metaText({ datasetId = '', subsetName = 'default', split = 'train', dataSlice, data }: DatasetMeta) {
  return JSON.stringify({
    _TWINKLE_TYPE_: 'DatasetMeta',
    dataset_id: datasetId,
    subset_name: subsetName,
    split,
    data_slice: dataSlice === undefined ? null : sliceOf(dataSlice),
    data: data ?? null,
  })
}

function sliceOf(slice: NonNullable<DatasetMeta['dataSlice']>) {
  if ('start' in slice) return { _slice_type_: 'range', start: slice.start, stop: slice.stop, step: slice.step ?? 1 }
  return { _slice_type_: 'list', values: [...slice] }
}

export class Dataset implements HasRemote, AsyncIterable<Row> {
  readonly remote: RemoteObject

  constructor(connection: Connection, meta: DatasetMeta, kwargs: Kwargs = {}, className: DatasetClass = 'Dataset') {
    this.remote = new RemoteObject(connection, 'dataset', className, { datasetMeta: metaText(meta), ...kwargs })
  }

  async setTemplate(templateFunc: string, kwargs: Kwargs = {}, options: CallOptions = {}): Promise<void> {
    await this.remote.call('set_template', { templateFunc, ...kwargs }, options)
  }

  /** May take minutes. */
  async encode(kwargs: Kwargs = {}, options: CallOptions = {}): Promise<void> {
    await this.remote.call('encode', kwargs, options)
  }

  async map(preprocessFunc: string, kwargs: Kwargs = {}, options: CallOptions = {}): Promise<void> {
    await this.remote.call('map', { preprocessFunc, ...kwargs }, options)
  }

  async filter(filterFunc: string, kwargs: Kwargs = {}, options: CallOptions = {}): Promise<void> {
    await this.remote.call('filter', { filterFunc, ...kwargs }, options)
  }

  async addDataset(meta: DatasetMeta, kwargs: Kwargs = {}, options: CallOptions = {}): Promise<void> {
    await this.remote.call('add_dataset', { datasetMeta: metaText(meta), ...kwargs }, options)
  }

  async mixDataset(interleave = true, kwargs: Kwargs = {}, options: CallOptions = {}): Promise<void> {
    await this.remote.call('mix_dataset', { interleave, ...kwargs }, options)
  }

  /** Of packing data sets. */
  async packDataset(options: CallOptions = {}): Promise<void> {
    await this.remote.call('pack_dataset', {}, options)
  }

  async size(options: CallOptions = {}): Promise<number> {
    return Number(await this.remote.call('__len__', {}, options))
  }

  async get(idx: number, options: CallOptions = {}): Promise<Row> {
    return (await this.remote.call('__getitem__', { idx }, options)) as Row
  }

  [Symbol.asyncIterator](): AsyncIterator<Row> {
    return this.remote.iterate<Row>()
  }
}

export interface LoaderOptions {
  readonly batchSize?: number
  readonly minBatchSize?: number
  readonly shuffle?: boolean
  readonly dropLast?: boolean
  readonly [keyword: string]: unknown
}

/** Batches of a data set; each `for await` is an epoch. */
export class DataLoader implements HasRemote, AsyncIterable<readonly Row[]> {
  readonly remote: RemoteObject

  constructor(connection: Connection, dataset: Dataset, options: LoaderOptions = {}) {
    this.remote = new RemoteObject(connection, 'dataloader', 'DataLoader', { dataset, ...options })
  }

  async setProcessor(processorCls: string, kwargs: Kwargs = {}, options: CallOptions = {}): Promise<void> {
    await this.remote.call('set_processor', { processorCls, ...kwargs }, options)
  }

  async size(options: CallOptions = {}): Promise<number> {
    return Number(await this.remote.call('__len__', {}, options))
  }

  async skipConsumedSamples(consumedTrainSamples: number, options: CallOptions = {}): Promise<void> {
    await this.remote.call('skip_consumed_samples', { consumedTrainSamples }, options)
  }

  async resumeFromCheckpoint(consumedTrainSamples: number, options: CallOptions = {}): Promise<void> {
    await this.remote.call('resume_from_checkpoint', { consumedTrainSamples }, options)
  }

  async getState(options: CallOptions = {}): Promise<{ readonly consumedTrainSamples: number }> {
    const state = (await this.remote.call('get_state', {}, options)) as { consumed_train_samples: number }
    return { consumedTrainSamples: state.consumed_train_samples }
  }

  [Symbol.asyncIterator](): AsyncIterator<readonly Row[]> {
    return this.remote.iterate<readonly Row[]>()
  }
}

export class InputProcessor implements HasRemote {
  readonly remote: RemoteObject

  constructor(connection: Connection, kwargs: Kwargs = {}) {
    this.remote = new RemoteObject(connection, 'processor', 'InputProcessor', kwargs)
  }

  process(inputs: readonly Row[], options: CallOptions = {}): Promise<unknown> {
    return this.remote.call('__call__', { inputs }, options)
  }
}
