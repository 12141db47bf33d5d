// What stands in \boxed{...}. Braces may be nested; \{ and \} are no braces.

/** All of them that are closed, in order. */
export function boxedIn(text: string): string[] {
  const found: string[] = []
  let from = 0
  for (;;) {
    const at = text.indexOf(OPENING, from)
    if (at < 0) return found
    const start = at + OPENING.length
    const end = closingBrace(text, start)
    // Nothing after it can be closed either, but for what stands inside.
    if (end < 0) return found
    found.push(text.slice(start, end))
    from = end + 1
  }
}

/** The content of the last \boxed{...}; null where there is none that is closed. */
export function lastBoxed(text: string): string | null {
  const at = text.lastIndexOf(OPENING)
  if (at < 0) return null
  const end = closingBrace(text, at + OPENING.length)
  return end < 0 ? null : text.slice(at + OPENING.length, end).trim()
}

const OPENING = '\\boxed{'

function closingBrace(text: string, start: number): number {
  let depth = 1
  for (let i = start; i < text.length; i++) {
    if (text[i] === '\\') i++
    else if (text[i] === '{') depth++
    else if (text[i] === '}' && --depth === 0) return i
  }
  return -1
}
