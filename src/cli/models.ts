// `twinkle models`: the base models of a running server, or with `--local` those that `twinkle serve` would serve.

import { openModelSource } from '../formats/model-folder.ts'
import { loadConfig } from '../server/config.ts'
import { CommandError } from './complaint.ts'
import type { ServeFlags } from './serve.ts'
import { callJson, serverAddress } from './server-call.ts'
import { table } from './table.ts'

export interface ModelsOptions {
  readonly url?: string
  readonly local?: boolean
  readonly config?: string
  readonly models?: unknown
  readonly json?: boolean
}

interface ServedModel {
  readonly model_name: string
  readonly max_context_length?: number
  readonly trainable?: boolean
  readonly sampleable?: boolean
}

export async function models(options: ModelsOptions): Promise<void> {
  if (options.local) return listLocal(options)
  const served = await servedModels(serverAddress(options))
  if (options.json) return print(JSON.stringify({ models: served }))
  const rows = served.map((model) => [
    model.model_name,
    String(model.max_context_length ?? '?'),
    yesNo(model.trainable),
    yesNo(model.sampleable),
  ])
  print(table(['MODEL', 'CONTEXT', 'TRAINS', 'SAMPLES'], rows))
}

async function servedModels(url: string): Promise<ServedModel[]> {
  const body = await callJson<{ supported_models?: ServedModel[] }>(url, '/api/v1/get_server_capabilities')
  if (!body.supported_models) throw new CommandError(`${url} does not answer with models.`, 'Check --url.')
  return body.supported_models
}

async function listLocal(options: ModelsOptions): Promise<void> {
  const flags: ServeFlags = options.models === undefined ? {} : { models: options.models }
  const file = options.config === undefined ? {} : { file: options.config }
  const { config } = await loadConfig({ flags, env: process.env, ...file })
  const found = config.models.map(({ name, path, backend = config.backend }) => {
    return { name, path, backend, ...(backend === 'transformers' ? factsOf(path) : {}) }
  })
  if (options.json) return print(JSON.stringify({ models: found }))
  const rows = found.map(({ name, architecture = '?', context = '?', backend, path }) => {
    return [name, architecture, String(context), backend, path]
  })
  print(table(['MODEL', 'FAMILY', 'CONTEXT', 'BACKEND', 'FROM'], rows))
}

function factsOf(path: string): { architecture?: string; context?: number } {
  if (path.startsWith('hf:')) return {}
  const { config } = openModelSource(path)
  return { architecture: config.family, context: config.maxContext }
}

function yesNo(value: boolean | undefined): string {
  return value === undefined ? '?' : value ? 'yes' : 'no'
}

function print(text: string): void {
  process.stdout.write(`${text}\n`)
}
