// Twinkle's native client for TypeScript: the public surface of `twinkle-ts/client`. Objects belong to the client that
// `initTwinkleClient` made last, or to the connection that they are given. Web APIs only.

import { currentConnection } from './client.ts'
import type { Connection } from './connection.ts'
import {
  type DatasetClass,
  type DatasetMeta,
  type LoaderOptions,
  DataLoader as RemoteDataLoader,
  Dataset as RemoteDataset,
  InputProcessor as RemoteInputProcessor,
} from './data.ts'
import { MultiLoraTransformersModel as RemoteModel } from './model.ts'
import type { Kwargs } from './names.ts'
import { VllmSampler as RemoteSampler } from './sampler.ts'

export * from './client.ts'
export { type CallOptions, Connection, type ConnectionOptions } from './connection.ts'
export type { DatasetClass, DatasetMeta, LoaderOptions } from './data.ts'
export * from './errors.ts'
export type { AdapterOptions, LoraConfig, ModelOutput, Progress, Row, Saved, SaveOptions } from './model.ts'
export type { Kwargs } from './names.ts'
export type { Sample, SampleDelta, SampleOptions, SamplingParams } from './sampler.ts'

export class MultiLoraTransformersModel extends RemoteModel {
  constructor(modelId: string, connection: Connection = currentConnection()) {
    super(modelId, connection)
  }
}

export class VllmSampler extends RemoteSampler {
  constructor(modelId: string, connection: Connection = currentConnection()) {
    super(modelId, connection)
  }
}

export class Dataset extends RemoteDataset {
  constructor(meta: DatasetMeta, kwargs?: Kwargs, className?: DatasetClass, connection = currentConnection()) {
    super(connection, meta, kwargs, className)
  }
}

export class DataLoader extends RemoteDataLoader {
  constructor(dataset: RemoteDataset, options?: LoaderOptions, connection = currentConnection()) {
    super(connection, dataset, options)
  }
}

export class InputProcessor extends RemoteInputProcessor {
  constructor(kwargs?: Kwargs, connection = currentConnection()) {
    super(connection, kwargs)
  }
}
