// The hub's read routes for the models served here, so that HF_ENDPOINT may point at this server and an unmodified script
// loads the tokenizer of any of them. Errors speak the hub's words: its client library decides by x-error-code what to do.
// Knows names and files; whether a key is asked for is the router's business.

import type { RoutedOperationId } from '../../generated/operations.ts'
import type { BytesResult, Handlers, JsonResult } from '../http/router.ts'
import { type Commit, commitOf } from './commit.ts'

export type HubHandlers = Handlers<Extract<RoutedOperationId<'operator'>, `hub${string}`>>

export interface HubModels {
  names(): readonly string[]
  /** File name to content; null for a model that is not served. */
  files(name: string): Readonly<Record<string, Uint8Array>> | null
}

export function hubHandlers(models: HubModels): HubHandlers {
  const commits = new WeakMap<object, Commit>()

  function find(name: string): Commit | null {
    const files = models.files(name)
    if (!files) return null
    const commit = commits.get(files) ?? commitOf(files)
    commits.set(files, commit)
    return commit
  }

  /** /api/models/NAME, NAME/revision/REV and NAME/tree/REV[/FOLDER] are one route of the document. */
  async function hubModel({ params }: { params: { name: string } }) {
    const [, name = '', view, rest = ''] = VIEW.exec(params.name) ?? []
    const commit = find(name)
    if (!commit) return repoNotFound(name, models)
    if (view === 'tree') return tree(commit, rest.replace(/^[^/]*\/?/, ''))
    return {
      id: name,
      modelId: name,
      sha: commit.id,
      private: false,
      gated: false,
      disabled: false,
      tags: [],
      siblings: [...commit.files.keys()].map((rfilename) => ({ rfilename })),
    }
  }

  async function hubFile({ params }: { params: { name: string; file: string } }): Promise<BytesResult | JsonResult> {
    const commit = find(params.name)
    if (!commit) return repoNotFound(params.name, models)
    const file = commit.files.get(params.file)
    if (!file) return notFound('EntryNotFound', `${params.name} has no file ${params.file} here.`, commit)
    return {
      contentType: params.file.endsWith('.json') ? 'application/json' : 'text/plain; charset=utf-8',
      bytes: file.bytes,
      headers: { etag: `"${file.hash}"`, 'x-repo-commit': commit.id },
    }
  }

  return { hubModel, hubFile, hubFileHead: hubFile }
}

const VIEW = /^(.+?)(?:\/(revision|tree)\/(.+))?$/

/** The files stand side by side; there are no folders. */
function tree(commit: Commit, folder: string): JsonResult {
  if (folder !== '') return notFound('EntryNotFound', `There is no folder ${folder} here.`, commit)
  const json = [...commit.files].map(([path, { bytes, hash }]) => ({
    type: 'file',
    path,
    size: bytes.length,
    oid: hash,
  }))
  return { json }
}

function repoNotFound(name: string, models: HubModels): JsonResult {
  return notFound(
    'RepoNotFound',
    `The model ${name} is not served here. Served are ${models.names().join(', ')}.`,
    null,
  )
}

function notFound(code: 'EntryNotFound' | 'RepoNotFound', message: string, commit: Commit | null): JsonResult {
  // A header holds no line breaks and nothing beyond Latin-1; the name in the message came from the request.
  const header = message.replace(/[^\x20-\x7e]/g, '?').slice(0, 500)
  const repo = commit ? { 'x-repo-commit': commit.id } : undefined
  return {
    status: 404,
    json: { error: message },
    headers: { 'x-error-code': code, 'x-error-message': header, ...repo },
  }
}
