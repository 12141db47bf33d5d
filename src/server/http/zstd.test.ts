import { createHash } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { decodeZstd } from './zstd.ts'

const base64 = (text: string) => new Uint8Array(Buffer.from(text, 'base64'))

/** A training request as the SDK compresses it: one frame that announces its size. */
const ONE_SHOT = base64(
  'KLUv/SCojQQAUkgfJWBF1QEwIEoSBodS5SVaMW29gPrDcKUbgFnMFRxk9sAWnPL9ZQpw6+5uTVGeI2kEt9YcimMi2QEi4IFJvuI0JyYVDOQU0gdmP8y+LOFNZlRW' +
    'BAis4TmFkOfJ3bOHN6/YwHjiWEmKmY3ef/cf+a/LCrbZRUGbSLosSrLkUDYHADanFMQLLgMDg0EQwUCgoA==',
)
/** A frame of several blocks, written piece by piece: no size, a window of 2 MiB. */
const STREAMED = base64(
  'KLUv/QBYjAcAIg8iFbAl6YBxgp2qJepakinJJOURuiNxJwRBrm8ypFZrlnwyJNWr8Xo5kTE1JUk63y76bJ+FZig0Wq3lHWVmPE3U8erlEycypqYkSYfLLfpsn4Vm' +
    'ODq5NUveUWQGiybqePXyabZLTUmSDpdbvHyMbxahmSFHp7om19T3QQwIYgwCYFAQBAEDAoMoCHyoUTC6+3eQk1J1EBrZAxUTQnFUKjEVXCuuJ+6NtYh3UcGFLM3F' +
    'vBxzk0nfJTx9tEK4T2d2NwZ2MPkEOpesjMTUHZK9e5SJIl4oEeN+3RMj0Q4eapuk6SD9XxFkUOCXIIMCUA2gKu0EAPMIEEV1/ZMZUl2fyJBa1ydDoromM6S66hMZ' +
    'Cq2vTTWfzAgHFbW01PgnM6Ta9YkMhUarNdV8MjOeppaWGv9khlR7EIN+qFCux6BzUvAQRH6Y8QNWrPfeUqZJjHlTPLdpxgYV7SUztXKxtXjjxcpQF+sb5OuLAEZz' +
    '5BYPsKSzOJFLtKhWtKLFPJQHMxrkaYvARXPkFg+wpKs4kQsTkwI=',
)

const KIB_128 = 2 ** 17
const START = [0x28, 0xb5, 0x2f, 0xfd]
/** Blocks of `size` equal bytes: four bytes each. */
function repeatBlocks(count: number, size: number): number[] {
  return Array.from({ length: count }, (_, i) => {
    const header = (size << 3) | 2 | (i === count - 1 ? 1 : 0)
    return [header & 255, (header >> 8) & 255, header >> 16, 7]
  }).flat()
}
/** No announced size, the smallest window. */
const frame = (blocks: readonly number[]) => Uint8Array.from([...START, 0, 0x38].concat(blocks))

const MIB = 2 ** 20

describe('decodeZstd', () => {
  it('reads what the SDK sends', async () => {
    const bytes = await decodeZstd(ONE_SHOT, MIB)
    expect(bytes.length).toBe(168)
    expect(Buffer.from(bytes).toString('latin1')).toContain('cross_entropy')
  })

  it('reads a frame that was written piece by piece', async () => {
    const bytes = await decodeZstd(STREAMED, 4 * MIB)
    expect(createHash('sha256').update(bytes).digest('hex')).toBe(
      '6969e3181c5b3d1105e8cc746b1acfe8b96db579e05d0ad5f652dc403d16b685',
    )
  })

  it('reads up to the cap, and not a byte more', async () => {
    expect((await decodeZstd(frame(repeatBlocks(8, KIB_128)), MIB)).every((byte) => byte === 7)).toBe(true)
    const over = decodeZstd(frame(repeatBlocks(9, KIB_128)), MIB)
    await expect(over).rejects.toMatchObject({ code: 'DECODED_BODY_TOO_LARGE', status: 413 })
  })

  it('refuses a bomb, announced or not, whatever it would grow to', async () => {
    const bomb = frame(repeatBlocks(8192, KIB_128)) // 32 KiB that stand for 1 GiB
    await expect(decodeZstd(bomb, MIB)).rejects.toMatchObject({ code: 'DECODED_BODY_TOO_LARGE' })
    const announced = Uint8Array.from([...START, 0xa0, 0, 0, 0, 0x40, ...repeatBlocks(8192, KIB_128)])
    await expect(decodeZstd(announced, MIB)).rejects.toMatchObject({ code: 'DECODED_BODY_TOO_LARGE' })
  })

  it('refuses a window that the decoder would allocate for nothing', async () => {
    const wide = Uint8Array.from([...START, 0, 0xa0, ...repeatBlocks(1, 1)]) // 1 GiB
    await expect(decodeZstd(wide, MIB)).rejects.toMatchObject({ code: 'DECODED_BODY_TOO_LARGE' })
  })

  it.each([
    ['nothing', new Uint8Array(0), /ends early/],
    ['something else', Uint8Array.from([31, 139, 8, 0, 0, 0]), /does not begin as one/],
    ['a frame that is cut off', ONE_SHOT.subarray(0, 100), /ends early/],
    ['two frames', Uint8Array.from([...ONE_SHOT, ...ONE_SHOT]), /something follows/],
    ['a dictionary', Uint8Array.from([...START, 3, 0x38, 1, 0, 0]), /dictionary/],
    ['millions of empty blocks', frame(repeatBlocks(70_000, 0)), /more than 65536 blocks/],
    ['a block larger than blocks may be', frame(repeatBlocks(1, KIB_128 + 1)), /block of 131073 bytes/],
    ['a size that is not the real one', Uint8Array.from([...START, 0x20, 9, ...repeatBlocks(1, 8)]), /announced/],
    ['a block of a reserved type', frame([7, 0, 0]), /./],
  ])('refuses %s', async (_, bytes, message) => {
    await expect(decodeZstd(bytes, MIB)).rejects.toThrow(message)
    await expect(decodeZstd(bytes, MIB)).rejects.toMatchObject({ code: 'MALFORMED_ZSTD' })
  })

  it('gives up on a frame that is minutes of work for one byte after the other', async () => {
    const slow = Uint8Array.from([...START, 0, 0x80].concat(repeatBlocks(60_000, 1))) // a window of 64 MiB to shift
    await expect(decodeZstd(slow, 64 * MIB, 300)).rejects.toThrow(/takes more than 300 ms/)
  })

  it('answers for every damaged byte', async () => {
    for (let at = 0; at < ONE_SHOT.length; at += 5) {
      const damaged = ONE_SHOT.with(at, ONE_SHOT[at]! ^ 0x55)
      const outcome = await decodeZstd(damaged, MIB).catch((error: unknown) => error)
      if (!(outcome instanceof Uint8Array)) expect(outcome).toMatchObject({ name: 'ServiceError', category: 'user' })
    }
  })
})
