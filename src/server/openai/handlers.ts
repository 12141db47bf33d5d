// All operations of openapi/openai.yaml, by operationId. The type is made from the document: a handler that is missing or
// misspelt does not compile.

import type { RoutedOperationId } from '../../generated/operations.ts'
import type { Handlers } from '../http/router.ts'
import type { Services } from '../services/services.ts'
import { chatHandlers } from './chat.ts'
import { completionHandlers } from './completions.ts'
import { modelHandlers } from './models.ts'

export type OpenAiHandlers = Handlers<RoutedOperationId<'openai'>>

export function openAiHandlers(services: Services): OpenAiHandlers {
  return { ...chatHandlers(services), ...completionHandlers(services), ...modelHandlers(services) }
}
