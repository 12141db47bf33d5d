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
  '--no-verify --no-convert --no-delimited --no-typeurl --no-service --dependency protobufjs/minimal.js --root twinkle',
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

const exactReader = `\
// Reads a 64-bit integer as a number, and refuses one that a number cannot hold.
class $Reader extends $protobuf.Reader {
    static recursionLimit = $protobuf.Reader.recursionLimit;
    static create(bytes) {
        if (!(bytes instanceof Uint8Array))
            throw TypeError("a message is read from a Uint8Array");
        return new $Reader(bytes);
    }
    int64() {
        return exact(super.int64());
    }
    uint64() {
        return exact(super.uint64());
    }
}

function exact(value) {
    const number = typeof value === "number" ? value : value.toNumber();
    if (!Number.isSafeInteger(number))
        throw RangeError("integer beyond 2^53");
    return number;
}
`

/** pbjs declares numbers (--force-number), but the reader of the library gives Long objects: ours takes its place. */
function exactIntegers(code) {
  const converted = code
    .replace('$Reader = $protobuf.Reader, ', '')
    .replaceAll(/\$util\.Long \? \$util\.Long\.fromBits\(0,\s*0,\s*(?:true|false)\) : 0/g, '0')
  if (/\bLong\b|\$Reader =/.test(converted)) throw new Error('pbjs writes 64-bit integers in a new way')
  return converted.replace(/^const \$root/m, `${exactReader}\nconst $root`)
}

function withoutLong(declarations) {
  const rest = declarations.replace('import Long = require("long");\n', '')
  if (/\bLong\b/.test(rest)) throw new Error('pbjs declares Long although numbers were asked for')
  return rest
}
