// What may go to a server: plain data, as JSON has it. JSON itself leaves functions out and writes NaN as null; nothing that
// a user gives is to be lost like that, so it is refused here by its name. Pure.

import { TwinkleError } from './errors.ts'

/** `value` as JSON can write it: typed arrays become lists. Throws TwinkleError that says where what cannot go stands. */
export function plain(value: unknown, name: string): unknown {
  switch (typeof value) {
    case 'function':
      throw refused(name, 'a function', 'no code of yours runs on a server; give the name of a class of the catalogue')
    case 'symbol':
      throw refused(name, 'a symbol', 'give a text')
    case 'bigint':
      throw refused(name, 'a bigint', 'give a number, or a text of its digits')
    case 'number':
      if (Number.isFinite(value)) return value
      throw refused(name, String(value), 'give a finite number')
    case 'object':
      return value === null ? null : plainObject(value, name)
    default:
      return value
  }
}

function plainObject(value: object, name: string): unknown {
  if (Array.isArray(value)) return value.map((item, index) => plain(item, `${name}[${index}]`))
  if (ArrayBuffer.isView(value) && !(value instanceof DataView)) {
    return Array.from(value as unknown as ArrayLike<unknown>, (item, index) => plain(item, `${name}[${index}]`))
  }
  if ('toJSON' in value) return value
  const prototype = Object.getPrototypeOf(value)
  // Another realm's plain objects are plain too.
  if (prototype !== null && Object.getPrototypeOf(prototype) !== null) {
    throw refused(name, `an object of class ${prototype.constructor.name}`, 'give plain data')
  }
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plain(item, `${name}.${key}`)]))
}

function refused(name: string, what: string, next: string): TwinkleError {
  return new TwinkleError(`${name} is ${what}, which cannot go to a server. Next: ${next}.`)
}
