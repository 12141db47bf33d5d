import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { tarPieces } from './tar.ts'

const file = (name: string, content: string) => ({ name, bytes: content.length, content })

describe('tarPieces', () => {
  it('makes what tar unpacks', () => {
    const entries = [
      file('a.json', '{}'),
      file('empty', ''),
      file('block', 'x'.repeat(512)),
      file('b', 'y'.repeat(700)),
    ]
    const pieces = tarPieces(entries, 1_700_000_000)
    const folder = mkdtempSync(join(tmpdir(), 'twinkle-tar-'))
    try {
      const archive = join(folder, 'all.tar')
      writeFileSync(archive, Buffer.concat(pieces.map((p) => (p instanceof Uint8Array ? p : Buffer.from(p.content)))))
      execFileSync('tar', ['-xf', archive, '-C', folder])
      for (const { name, content } of entries) expect(readFileSync(join(folder, name), 'utf8')).toBe(content)
      const listing = execFileSync('tar', ['-tf', archive], { encoding: 'utf8' })
      expect(listing.trim().split('\n')).toEqual(['a.json', 'empty', 'block', 'b'])
    } finally {
      rmSync(folder, { recursive: true })
    }
  })

  it('writes sizes beyond 8 GiB in binary, and refuses names that do not fit', () => {
    const [header] = tarPieces([{ name: 'large', bytes: 8 ** 11 + 5 }], 0) as [Uint8Array]
    expect(header[124]).toBe(0x80)
    expect(new DataView(header.buffer).getBigUint64(128)).toBe(BigInt(8 ** 11 + 5))
    expect(() => tarPieces([{ name: 'x'.repeat(101), bytes: 0 }], 0)).toThrow('too long')
  })
})
