// The address of a checkpoint: tinker://RUN/KIND/NAME, or the same with twinkle://, as Twinkle's servers call it.

import { TinkerError } from './errors.ts'

const KINDS = { weights: 'training', sampler_weights: 'sampler', external_weights: 'external' } as const

export interface TinkerPath {
  readonly tinkerPath: string
  readonly trainingRunId: string
  readonly checkpointType: (typeof KINDS)[keyof typeof KINDS]
  /** `KIND/NAME` */
  readonly checkpointId: string
}

/** Throws TinkerError for anything else. */
export function parseTinkerPath(path: string): TinkerPath {
  const [run, kind, name, ...more] = /^(?:tinker|twinkle):\/\/(.*)$/.exec(path)?.[1]?.split('/') ?? []
  if (!run || !name || more.length > 0 || !kind || !Object.hasOwn(KINDS, kind)) {
    throw new TinkerError(
      `${JSON.stringify(path)} is no checkpoint: tinker://RUN/KIND/NAME, KIND one of ${Object.keys(KINDS).join(', ')}.`,
    )
  }
  const checkpointType = KINDS[kind as keyof typeof KINDS]
  return { tinkerPath: path, trainingRunId: run, checkpointType, checkpointId: `${kind}/${name}` }
}

/** The path parameters of routes about one checkpoint. */
export function checkpointParams(trainingRunId: string, checkpointId: string) {
  const { trainingRunId: run, checkpointId: id } = parseTinkerPath(`tinker://${trainingRunId}/${checkpointId}`)
  const [kind, name] = id.split('/') as [keyof typeof KINDS, string]
  return { run, kind, name }
}
