import { describe, expect, it } from 'vitest'
import { createProcessor, unprocessed } from './index.ts'

const row = (...ids: number[]) => ({
  input_ids: ids,
  labels: [...ids.slice(1), -100],
  attention_mask: ids.map(() => 1),
  position_ids: [...ids.keys()],
})
const process = (kwargs: object, rows: unknown) => createProcessor('InputProcessor', { ...kwargs }).process(rows)

describe('rows of a batch', () => {
  it('get the length of the longest', () => {
    expect(process({}, [{ ...row(1, 2, 3), id: 'a' }, row(4)])).toEqual([
      { ...row(1, 2, 3), id: 'a' },
      { input_ids: [4, 0, 0], labels: [-100, -100, -100], attention_mask: [1, 0, 0], position_ids: [0, -1, -1] },
    ])
    expect(process({ padding_side: 'left' }, [row(1, 2), row(4)])[1]).toEqual({
      input_ids: [0, 4],
      labels: [-100, -100],
      attention_mask: [0, 1],
      position_ids: [-1, 0],
    })
  })

  it('are put one behind the other without padding', () => {
    expect(
      process({ padding_free: true }, [
        { ...row(1, 2), id: 'a' },
        { ...row(4), id: 'b' },
      ]),
    ).toEqual([
      {
        input_ids: [1, 2, 4],
        labels: [2, -100, -100],
        attention_mask: [1, 1, 1],
        position_ids: [0, 1, 0],
        id: ['a', 'b'],
      },
    ])
  })

  it('come back as they were', () => {
    const rows = [row(1, 2, 3), row(4), row(5, 6)]
    for (const kwargs of [{ padding_side: 'left' }, { padding_side: 'right' }, { padding_free: true }]) {
      const made = process(kwargs, rows) as ReturnType<typeof row>[]
      expect(made.flatMap(unprocessed)).toEqual(rows)
    }
    const [only] = rows
    expect(unprocessed(only as ReturnType<typeof row>)[0]).toBe(only)
  })

  it('may be a single one, with what models want to know filled in', () => {
    expect(process({ framework: 'megatron', device_mesh: null }, { input_ids: [7, 8] })).toEqual([
      { input_ids: [7, 8], attention_mask: [1, 1], position_ids: [0, 1] },
    ])
    expect(process({}, [])).toEqual([])
  })

  it('are refused by name when their lists differ', () => {
    expect(() => process({}, [{ ...row(1, 2), labels: [1] }])).toThrow(
      'has 2 input_ids, but labels is no list of that length',
    )
    const long = row(...Array(5000).keys())
    expect(() => process({}, [long, ...Array(5000).fill(row(1))])).toThrow('5001 rows padded to 5000 tokens each')
    expect(() => process({}, [{ messages: [] }])).toThrow('A row of inputs has no input_ids.')
    expect(() => createProcessor('MyProcessor', {})).toThrow('There is no processor "MyProcessor".')
    expect(() => process({ padding_side: 'both' }, [])).toThrow('cannot take padding_side = "both"')
  })
})
