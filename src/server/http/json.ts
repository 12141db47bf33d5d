// JSON without loss: an integer that a double cannot hold (a seed, a sequence number of a copied client) comes out as its
// decimal text, which the API's Int64 fields expect; everything else is JSON.parse. Bodies that would cost far more memory
// than their bytes, or that would overflow the stack of whoever walks them, are refused before they are parsed.

import { ServiceError, serviceError } from '../errors.ts'

export const MAX_DEPTH = 64
/** Lists and objects together. A full request of the SDK has about 10 000. */
export const MAX_CONTAINERS = 2 ** 20

/** An integer of 16 or more digits, not part of a fraction or an exponent; some of them are not exact as a double. */
const LONG_INTEGER = /(?<![\d.eE+-])-?[1-9]\d{15,}(?![\d.eE])/

/** Long enough for a number that JSON.parse makes infinite: 1e999. Rare, so only such texts are walked. */
const MAY_OVERFLOW = /\d[eE]\+?\d{3}|\d{200}/

/** Throws MALFORMED_JSON or BODY_TOO_COMPLEX. */
export function parseJson(bytes: Uint8Array): unknown {
  const text = decodeUtf8(bytes)
  checkComplexity(text)
  try {
    const value: unknown = JSON.parse(LONG_INTEGER.test(text) ? quoteLongIntegers(text) : text)
    if (MAY_OVERFLOW.test(text)) refuseInfinity(value)
    return value
  } catch (cause) {
    if (cause instanceof ServiceError) throw cause
    throw serviceError('MALFORMED_JSON', { problem: placeOf(cause) }, { cause })
  }
}

/** Nesting is bounded by MAX_DEPTH. */
function refuseInfinity(value: unknown): void {
  if (value === Number.POSITIVE_INFINITY || value === Number.NEGATIVE_INFINITY) {
    throw serviceError('MALFORMED_JSON', { problem: 'a number is beyond what 64 bits hold' })
  }
  if (typeof value === 'object' && value !== null) for (const each of Object.values(value)) refuseInfinity(each)
}

function decodeUtf8(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (cause) {
    throw serviceError('MALFORMED_JSON', { problem: 'it is not UTF-8' }, { cause })
  }
}

function checkComplexity(text: string): void {
  let depth = 0
  let containers = 0
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code === QUOTE) i = endOfString(text, i)
    else if (code === OPEN_LIST || code === OPEN_OBJECT) {
      containers++
      if (++depth > MAX_DEPTH) throw serviceError('BODY_TOO_COMPLEX', { problem: `more than ${MAX_DEPTH} levels` })
    } else if (code === CLOSE_LIST || code === CLOSE_OBJECT) depth--
  }
  if (containers > MAX_CONTAINERS) {
    throw serviceError('BODY_TOO_COMPLEX', { problem: `more than ${MAX_CONTAINERS} lists and objects` })
  }
}

function quoteLongIntegers(text: string): string {
  const every = new RegExp(LONG_INTEGER, 'g')
  let out = ''
  let at = 0
  while (at < text.length) {
    const quote = text.indexOf('"', at)
    const end = quote < 0 ? text.length : quote
    out += text
      .slice(at, end)
      .replace(every, (digits) => (Number.isSafeInteger(Number(digits)) ? digits : `"${digits}"`))
    at = quote < 0 ? end : endOfString(text, quote) + 1
    out += text.slice(end, at)
  }
  return out
}

/** Index of the closing quote of the string that opens at `start`, or of the text's last character. */
function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end >= 0; end = text.indexOf('"', end + 1)) {
    let backslashes = 0
    while (text.charCodeAt(end - 1 - backslashes) === BACKSLASH) backslashes++
    if (backslashes % 2 === 0) return end
  }
  return text.length - 1
}

/** V8's message quotes the text around the place, which may be long; its first words say enough. */
function placeOf(cause: unknown): string {
  const [message = ''] = cause instanceof Error ? cause.message.split(/, "|, \.\.\./) : []
  const position = cause instanceof Error ? /at position \d+/.exec(cause.message)?.[0] : undefined
  return position === undefined || message.includes(position) ? message : `${message} ${position}`
}

const [QUOTE, BACKSLASH, OPEN_LIST, CLOSE_LIST, OPEN_OBJECT, CLOSE_OBJECT] = [34, 92, 91, 93, 123, 125]
