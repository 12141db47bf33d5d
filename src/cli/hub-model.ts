// Fetches a model that was named as `hf:org/name`, and says how far it is: a bar on a terminal, a line now and then
// elsewhere. How a hub is asked is known to `formats/hub-download.ts`.

import { type DownloadProgress, downloadModel } from '../formats/hub-download.ts'
import { ProgressLine } from './progress.ts'

/** The folder or file that the reference now lies in. */
export async function fetchHubModel(reference: string): Promise<string> {
  const line = new ProgressLine(process.stderr)
  try {
    return await downloadModel(reference, {
      onProgress: (progress) => line.update(wordsFor(reference, progress), progress.doneBytes / progress.totalBytes),
      onNotice: (sentence) => line.note(sentence),
    })
  } finally {
    line.end()
  }
}

function wordsFor(reference: string, { doneBytes, totalBytes }: DownloadProgress): string {
  return `${reference}  ${mebibytes(doneBytes)} of ${mebibytes(totalBytes)} MiB`
}

function mebibytes(bytes: number): string {
  return (bytes / 2 ** 20).toFixed(1)
}
