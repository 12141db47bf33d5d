// Protobuf code for openapi/tinker_public.proto, by pbjs: static functions, no reflection at run time.
// 64-bit integers are numbers here; one beyond 2^53 is refused when it is read, never rounded.

import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { header } from './documents.mjs'

const file = 'openapi/tinker_public.proto'

// Field names stay as on the wire; what is needed is encode, decode and create.
const options = [
  '--target static-module --wrap esm --keep-case --force-number --null-semantics',
  '--no-verify --no-convert --no-delimited --no-typeurl --no-service --dependency protobufjs/minimal.js',
].flatMap((line) => line.split(' '))

export async function writeProto(root) {
  const folder = await mkdtemp(join(tmpdir(), 'twinkle-generate-'))
  try {
    // The declarations are made from the comments, which the code itself does not need.
    const [code, declarations] = await Promise.all([
      pbjs(root, join(folder, 'code.js'), ['--no-comments'], 'code.js'),
      pbjs(root, join(folder, 'types.js'), ['--dts'], 'types.d.ts'),
    ])
    return {
      'tinker-proto.js': `${header(file)}\n${exactIntegers(code)}`,
      'tinker-proto.d.ts': `${header(file)}\n${withoutLong(declarations)}`,
    }
  } finally {
    await rm(folder, { recursive: true })
  }
}

async function pbjs(root, out, more, result) {
  const cli = join(root, 'node_modules/protobufjs-cli/bin/pbjs')
  await promisify(execFile)(process.execPath, [cli, ...options, ...more, '--out', out, file], { cwd: root })
  return readFile(join(out, '..', result), 'utf8')
}

const exactly = `
// A Long is turned into a number where that is exact, and refused where it is not.
const $exactly = (value) => {
    const number = typeof value === "number" ? value : value.toNumber();
    if (!$Number.isSafeInteger(number))
        throw $RangeError("integer beyond 2^53");
    return number;
};
`

/** pbjs declares numbers (--force-number) but its reader gives Long objects: convert them where they are read. */
function exactIntegers(code) {
  const converted = code
    .replaceAll(/reader\.(u?int64)\(\)/g, '$exactly(reader.$1())')
    .replaceAll(/\$util\.Long \? \$util\.Long\.fromBits\(0,\s*0,\s*(?:true|false)\) : 0/g, '0')
  if (converted === code || converted.includes('Long.')) throw new Error('pbjs writes 64-bit integers in a new way')
  const firstExport = converted.indexOf('export const')
  return `${converted.slice(0, firstExport)}${exactly.trimStart()}\n${converted.slice(firstExport)}`
}

function withoutLong(declarations) {
  const rest = declarations.replace('import Long = require("long");\n', '')
  if (/\bLong\b/.test(rest)) throw new Error('pbjs declares Long although numbers were asked for')
  return rest
}
