// `twinkle datum show`: the datums of a file or of an operation in the journal, with what is commonly wrong marked.

import { existsSync } from 'node:fs'
import { openModelSource } from '../formats/model-folder.ts'
import { openVocabulary, type Vocabulary } from '../formats/vocabulary.ts'
import { loadConfig, type ServerConfig } from '../server/config.ts'
import { models } from '../server/config-values.ts'
import { readDatumFile } from '../server/datums/datum-file.ts'
import { type Finding, reviewDatums } from '../server/datums/datum-review.ts'
import { isModelId, journalDatums } from '../server/datums/journal-datums.ts'
import type { ShownData, ShownDatum } from '../server/datums/shown-datum.ts'
import { nearest } from '../server/nearest.ts'
import { CommandError } from './complaint.ts'
import { datumText, quoted } from './datum-table.ts'
import type { ServeFlags } from './serve.ts'

export interface DatumOptions extends ServeFlags {
  /** A served model's name, or what `serve --model` takes. */
  readonly tokenizer?: string
  readonly datum?: string
  readonly datums?: string
  readonly rows?: string
  readonly json?: boolean
}

const REQUEST_ID = /^req-[0-9a-f-]{36}$/

export async function showDatum(from: string, options: DatumOptions): Promise<void> {
  const { tokenizer, datum, datums, rows, json, config: file, ...flags } = options
  const { config } = await loadConfig({ flags, env: process.env, ...(file === undefined ? {} : { file }) })
  const isJournalled = (REQUEST_ID.test(from) || isModelId(from)) && !existsSync(from)
  const data = isJournalled ? await journalDatums(config, from) : await readDatumFile(from)
  const vocabulary = await vocabularyOf(config, tokenizer ?? data.baseModel)
  const findings = reviewDatums(data.datums, { loss: data.loss, vocabulary })
  const only = datum === undefined ? null : whole('--datum', datum, data.datums.length - 1)
  const view = { vocabulary, only, datums: whole('--datums', datums ?? '3'), rows: whole('--rows', rows ?? '40') }
  const text = json ? JSON.stringify(datumJson(data, findings, view)) : datumText(data, findings, view)
  process.stdout.write(`${text}\n`)
}

/** Null: nobody said which tokenizer it is. */
async function vocabularyOf(config: ServerConfig, name: string | null): Promise<Vocabulary | null> {
  if (name === null) return null
  const path = config.models.find((model) => model.name === name)?.path ?? referenceOf(config, name)
  const { fetchHubModel } = await import('./hub-model.ts')
  return openVocabulary(openModelSource(path.startsWith('hf:') ? await fetchHubModel(path) : path))
}

function referenceOf(config: ServerConfig, name: string): string {
  const reference = name.replace(/^[^=]*=/, '')
  if (reference.startsWith('hf:') || existsSync(reference)) return models([name], { base: process.cwd() })[0]!.path
  const names = config.models.map((model) => model.name)
  const [near] = nearest(name, names, 1)
  const hint = near === undefined ? '' : `--model ${near}, `
  throw new CommandError(
    `No model is called ${name} here; there is ${names.join(', ') || 'none'}.`,
    `Pass ${hint}a Hugging Face folder, a .gguf file or hf:org/name.`,
  )
}

function whole(flag: string, text: string, most = Number.MAX_SAFE_INTEGER): number {
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN
  if (value <= most) return value
  const range = most === Number.MAX_SAFE_INTEGER ? 'a whole number' : `a whole number from 0 to ${most}`
  throw new CommandError(`${flag} ${text} is not possible.`, `It takes ${range}.`)
}

interface JsonView {
  readonly vocabulary: Vocabulary | null
  readonly only: number | null
}

function datumJson(data: ShownData, findings: readonly Finding[], { vocabulary, only }: JsonView) {
  const wanted = only === null ? data.datums.map((_, i) => i) : [only]
  return {
    source: data.source,
    loss: data.loss,
    baseModel: data.baseModel,
    datums: wanted.map((index) => ({ index, ...columnsJson(data.datums[index]!, vocabulary) })),
    findings: findings.filter(({ datum }) => only === null || datum === null || datum === only),
  }
}

/** Whole columns; numbers that JSON has no word for are null. */
function columnsJson({ tokens, inputs, computed }: ShownDatum, vocabulary: Vocabulary | null) {
  const list = (values: ArrayLike<number>) => Array.from(values)
  return {
    tokens: list(tokens),
    ...(vocabulary && { text: list(tokens).map((id) => quoted(vocabulary, id)) }),
    inputs: Object.fromEntries(
      Object.entries(inputs).map(([name, { values, width }]) => [name, { values: list(values), width }]),
    ),
    ...(computed && { computed: { values: list(computed.values), width: computed.width } }),
  }
}
