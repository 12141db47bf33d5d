// All operations of openapi/tinker.yaml that are served, by operationId. The type is made from the document: a handler that
// is missing or misspelt does not compile.

import type { RoutedOperationId } from '../../generated/operations.ts'
import type { Handlers } from '../http/router.ts'
import type { Services } from '../services/services.ts'
import { accountHandlers } from './account.ts'
import { checkpointHandlers } from './checkpoints.ts'
import { clientHandlers } from './client.ts'
import { futureHandlers } from './futures.ts'
import { modelHandlers } from './models.ts'
import { samplingHandlers } from './sampling.ts'
import { sessionSearchHandlers } from './session-search.ts'
import { sessionHandlers } from './sessions.ts'
import { trainingHandlers } from './training.ts'
import { weightsHandlers } from './weights.ts'

export type TinkerHandlers = Handlers<RoutedOperationId<'tinker'>>

export function tinkerHandlers(services: Services): TinkerHandlers {
  return {
    ...clientHandlers(services),
    ...sessionHandlers(services),
    ...sessionSearchHandlers(services),
    ...modelHandlers(services),
    ...trainingHandlers(services),
    ...weightsHandlers(services),
    ...checkpointHandlers(services),
    ...accountHandlers(services),
    ...samplingHandlers(services),
    ...futureHandlers(services),
  }
}
