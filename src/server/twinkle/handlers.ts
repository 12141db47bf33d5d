// All operations of openapi/twinkle.yaml that are served, by operationId. Handlers know the newest answers only; a call by a
// path of the first generation gets the older form here (seed-answers.ts).

import type { RoutedOperationId } from '../../generated/operations.ts'
import type { Handlers } from '../http/router.ts'
import type { Services } from '../services/services.ts'
import { notGone } from './not-gone.ts'
import { processorHandlers } from './processors.ts'
import { runHandlers } from './runs.ts'
import { samplerHandlers } from './samplers.ts'
import { saveHandlers } from './saves.ts'
import { seedAnswers } from './seed-answers.ts'
import { serviceHandlers } from './service.ts'
import { setupHandlers } from './setup.ts'
import { trainingHandlers } from './training.ts'

export type TwinkleHandlers = Handlers<RoutedOperationId<'twinkle'>>

export function twinkleHandlers(services: Services): TwinkleHandlers {
  const handlers: TwinkleHandlers = {
    ...serviceHandlers(services),
    ...runHandlers(services),
    ...processorHandlers(services),
    ...samplerHandlers(services),
    ...setupHandlers(services),
    ...trainingHandlers(services),
    ...saveHandlers(services),
  }
  return notGone(seedAnswers(handlers))
}
