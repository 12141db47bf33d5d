// What the holder of a weights access token may call with it as a key. SDKs before 0.24 ask weights_info that way, after they
// have opened a client of their own for it.

import type { Operation, RoutedOperationId } from '../../generated/operations.ts'
import { serviceError } from '../errors.ts'
import type { Tenant } from '../services/tenants.ts'

const OPEN_TO_READERS: ReadonlySet<string> = new Set<RoutedOperationId<'tinker'>>([
  'clientConfig',
  'clientDynamicConfig',
  'reportTelemetry',
  'healthz',
  'createSession',
  'sessionHeartbeat',
  'finishSession',
  'weightsInfo',
])

/** Throws READER_KEY. */
export function checkReader({ role }: Tenant, { id }: Operation): void {
  if (role === 'reader' && !OPEN_TO_READERS.has(id)) throw serviceError('READER_KEY', { operation: id })
}
