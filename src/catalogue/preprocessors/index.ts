// The preprocessors and filters by name.

import { Arguments, type Kwargs } from '../arguments.ts'
import { unknownName } from '../catalogue-error.ts'
import { AlpacaProcessor } from './alpaca.ts'
import { CompetitionMathGRPOProcessor, CompetitionMathProcessor } from './competition-math.ts'
import { CountdownProcessor } from './countdown.ts'
import { EmojiDPOProcessor } from './emoji-dpo.ts'
import { LengthFilter, NonEmptyFilter } from './filters.ts'
import { GSM8KProcessor } from './gsm8k.ts'
import { OlympiadBenchProcessor } from './olympiad-bench.ts'
import { type Keep, type MakePreprocess, noImages, type Preprocess } from './preprocessor.ts'
import { SelfCognitionProcessor } from './self-cognition.ts'

export type { Keep, Preprocess } from './preprocessor.ts'

const PREPROCESSORS: Readonly<Record<string, MakePreprocess>> = {
  AlpacaProcessor,
  CompetitionMathGRPOProcessor,
  CompetitionMathProcessor,
  CountdownProcessor,
  EmojiDPOProcessor,
  GSM8KProcessor,
  OlympiadBenchProcessor,
  SelfCognitionProcessor,
}
const FILTERS: Readonly<Record<string, (args: Arguments) => Keep>> = { LengthFilter, NonEmptyFilter }

/** Throws CatalogueError: UNKNOWN_NAME, UNSUPPORTED_NAME and those of arguments. */
export function createPreprocessor(name: string, kwargs: Kwargs): Preprocess {
  if (name === 'CLEVRProcessor') throw noImages(name)
  return made('preprocessor', PREPROCESSORS, name, kwargs)
}

/** Throws CatalogueError: UNKNOWN_NAME and those of arguments. */
export function createFilter(name: string, kwargs: Kwargs): Keep {
  return made('filter', FILTERS, name, kwargs)
}

function made<T>(
  kind: string,
  table: Readonly<Record<string, (args: Arguments) => T>>,
  name: string,
  kwargs: Kwargs,
): T {
  const make = Object.hasOwn(table, name) ? table[name] : undefined
  if (!make) throw unknownName(kind, name, Object.keys(table))
  const args = new Arguments(kind, name, kwargs)
  const entry = make(args)
  args.end()
  return entry
}
