// The native client's classes, computing in this process: no server to start, no init call. The public surface of
// `twinkle-ts` for training programs; with `twinkle-ts/client` and `initTwinkleClient` the same program uses a server.

import type { Connection } from '../client/twinkle/connection.ts'
import * as remote from '../client/twinkle/index.ts'
import { localConnection, servedName } from './local.ts'

export type * from '../client/twinkle/index.ts'
export {
  AuthenticationError,
  ConnectionError,
  MissingRouteError,
  NotFoundError,
  StatusError,
  TwinkleError,
  UnexpectedAnswerError,
} from '../client/twinkle/index.ts'
export { LocalError } from './errors.ts'
export { closeLocal, configureLocal } from './local.ts'
export type { LocalOptions } from './room.ts'

export class MultiLoraTransformersModel extends remote.MultiLoraTransformersModel {
  /** A name, or the path of a Hugging Face folder or a `.gguf` file. */
  constructor(modelId: string, connection?: Connection) {
    super(connection ? modelId : servedName(modelId), connection ?? localConnection())
  }
}

export class VllmSampler extends remote.VllmSampler {
  /** A name, or the path of a Hugging Face folder or a `.gguf` file. */
  constructor(modelId: string, connection?: Connection) {
    super(connection ? modelId : servedName(modelId), connection ?? localConnection())
  }
}

export class Dataset extends remote.Dataset {
  constructor(
    meta: remote.DatasetMeta,
    kwargs?: remote.Kwargs,
    className?: remote.DatasetClass,
    connection: Connection = localConnection(),
  ) {
    super(meta, kwargs, className, connection)
  }
}

export class DataLoader extends remote.DataLoader {
  constructor(dataset: remote.Dataset, options?: remote.LoaderOptions, connection: Connection = localConnection()) {
    super(dataset, options, connection)
  }
}

export class InputProcessor extends remote.InputProcessor {
  constructor(kwargs?: remote.Kwargs, connection: Connection = localConnection()) {
    super(kwargs, connection)
  }
}

/** What this process knows of: runs and checkpoints of its state folder, models, capacity. */
export class TwinkleClient extends remote.TwinkleClient {
  constructor(connection: Connection = localConnection()) {
    super(connection)
  }
}
