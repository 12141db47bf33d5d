import { serviceError } from '../errors.ts'

/** A training sequence number: absent = 0 = order of arrival. They count up from 1, so one beyond 2^53 is a mistake. */
export function seqNumber(value: number | string | null | undefined): number {
  const seq = value ?? 0
  if (typeof seq === 'number' && Number.isSafeInteger(seq) && seq >= 0) return seq
  throw serviceError('INVALID_BODY', { operation: 'this operation', problem: `seq_id ${seq} is no number from 0 up` })
}
