// What clients of the first generation (twinkle-kit 0.0.1 to 0.1.3) get, made from the newest answers: they read `result` of
// everything, take save's for a path, and know one sample for all inputs. Knows shapes and no operation's meaning; which of
// them has an older form says `x-twinkle-seed-answer` in openapi/twinkle.yaml.

import type { OperationId } from '../../generated/operations.ts'
import type { Handlers } from '../http/router.ts'

type Answer = Readonly<Record<string, unknown>>
type AnyHandler = (call: { readonly request: { readonly byAlias: boolean } }) => Promise<unknown>

const OLDER: Readonly<Record<string, (answer: Answer) => unknown>> = {
  modelSave: ({ twinkle_path, checkpoint_dir }) => ({ result: twinkle_path, checkpoint_dir }),
  samplerSample: ({ samples }) => flat(samples as readonly { readonly sequences: readonly unknown[] }[]),
}

/** The same handlers; a call by an alias is answered in the older form. */
export function seedAnswers<K extends OperationId>(handlers: Handlers<K>): Handlers<K> {
  const wrapped = Object.entries(handlers as unknown as Readonly<Record<string, AnyHandler>>).map(([id, handler]) => {
    const answerBoth: AnyHandler = async (call) => {
      const answer = await handler(call)
      return call.request.byAlias ? seedAnswer(id, answer) : answer
    }
    return [id, answerBoth]
  })
  return Object.fromEntries(wrapped) as Handlers<K>
}

/** @param answer of the handler, which may be no JSON at all (a stream): such have no older form */
export function seedAnswer(id: string, answer: unknown): unknown {
  if (answer === null) return { result: null }
  const older = OLDER[id]
  return older ? older(answer as Answer) : answer
}

/** One sample with the sequences of all inputs; what is of a prompt is that of the first. */
function flat([first, ...rest]: readonly { readonly sequences: readonly unknown[] }[]): unknown {
  return { ...first, sequences: [...(first?.sequences ?? []), ...rest.flatMap(({ sequences }) => sequences)] }
}
