// The work of a process of its own: imports an adapter, or merges one into its base model. The API process starts it and
// reads one line of JSON. It knows files; no database, no tenant.

import type { AdapterFile } from '../../backends/backend.ts'
import { writeFolder } from '../../backends/transformers/adapter-folder.ts'
import { type ImportedAdapter, importAdapter } from '../../backends/transformers/adapter-import.ts'
import type { FloatDType } from '../../formats/dtype.ts'
import { FormatError } from '../../formats/format-error.ts'
import { writeMergedModel } from '../../formats/merged-model.ts'
import { openModelSource } from '../../formats/model-folder.ts'
import { adaptableModules } from '../../formats/model-tensors.ts'
import { readPeftAdapter } from '../../formats/peft.ts'

interface Job {
  /** An adapter's folder. */
  readonly source: string
  /** A folder that does not exist yet. */
  readonly target: string
  /** Path of the base model. */
  readonly model: string
}

export interface ImportJob extends Job {
  readonly kind: 'import'
  readonly baseModel: string
  readonly maxRank: number
}

export interface MergeJob extends Job {
  readonly kind: 'merge'
  readonly dtype: FloatDType | null
}

export interface TaskResults {
  readonly import: ImportedAdapter
  readonly merge: readonly AdapterFile[]
}

export type TaskJob = ImportJob | MergeJob
/** `problem`: what is wrong with the files, for the user. */
export type TaskAnswer<T> = { readonly result: T } | { readonly problem: string }

function work(job: TaskJob): TaskResults[TaskJob['kind']] {
  const model = openModelSource(job.model)
  if (job.kind === 'import') return importAdapter(job.source, job.target, model, job.baseModel, job.maxRank)
  const adapter = readPeftAdapter(job.source, adaptableModules(model.config), model)
  return writeFolder(job.target, (folder) => writeMergedModel(folder, model, adapter, job.dtype ?? undefined))
}

function answer(job: TaskJob): TaskAnswer<unknown> {
  try {
    return { result: work(job) }
  } catch (error) {
    if (!(error instanceof FormatError)) throw error
    // Clients know the files by their names, not where this machine keeps them.
    const problem = [job.source, job.target, job.model].reduce((text, path) => text.replaceAll(path, ''), error.message)
    return { problem: problem.replace(/^[/\\]|^: /, '') }
  }
}

process.stdout.write(`${JSON.stringify(answer(JSON.parse(process.argv[2] as string)))}\n`)
