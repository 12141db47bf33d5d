import { expect, it } from 'vitest'
import { AdapterRoom } from './adapter-room.ts'

/** A room with adapters that nobody uses, named in the order in which they came. */
function roomOf(names: string, size = { adapters: 3, bytes: 1000 }) {
  const room = new AdapterRoom(size)
  for (const name of names) {
    const live = room.enter(name)
    room.weigh(live, 100)
    room.letGo(live)
  }
  const get = (name: string) => room.get(name) as NonNullable<ReturnType<AdapterRoom['get']>>
  return { room, get }
}

it('sends away the one that was used longest ago', () => {
  const { room, get } = roomOf('abc')
  room.use(get('a'))
  room.letGo(get('a'))
  expect(room.next()?.run).toBe('b')
})

it('spares who is in use, and who has a gradient as long as another has none', () => {
  const { room, get } = roomOf('abc')
  get('a').hasGradient = true
  room.use(get('b'))
  expect(room.next()?.run).toBe('c')
  room.leave(get('c'))
  expect(room.next()?.run).toBe('a')
  room.use(get('a'))
  expect(room.next()).toBeNull()
})

it('is full by number or by bytes, and lets one in however large it is', () => {
  expect(roomOf('abc').room.isFull).toBe(true)
  expect(roomOf('ab').room.isFull).toBe(false)
  const { room, get } = roomOf('ab', { adapters: 10, bytes: 150 })
  expect([room.isFull, room.isOver]).toEqual([true, true])
  room.leave(get('a'))
  expect([room.isFull, room.isOver]).toEqual([false, false])
  expect(roomOf('', { adapters: 1, bytes: 1 }).room.isFull).toBe(false)
})

it('tells those who wait when somebody is done or gone, not when a place could not be filled', async () => {
  const { room, get } = roomOf('a')
  let told = 0
  const wait = () => void room.changed().then(() => told++)
  wait()
  room.withdraw(room.enter('b'))
  await Promise.resolve()
  expect(told).toBe(0)
  room.letGo(get('a'))
  await Promise.resolve()
  wait()
  room.leave(get('a'))
  await Promise.resolve()
  expect(told).toBe(2)
})
