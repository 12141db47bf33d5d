// Small mathematical expressions, in plain notation or LaTeX, as numbers: enough to see that \frac{1}{2}, 0.5 and 2/4 are the
// same answer, and that x(x+1) is x^2+x. Letters stand for numbers that the caller chooses. Anything else is not understood.

const FUNCTIONS: Readonly<Record<string, (x: number) => number>> = {
  sqrt: Math.sqrt,
  sin: Math.sin,
  cos: Math.cos,
  tan: Math.tan,
  ln: Math.log,
  log: Math.log10,
  exp: Math.exp,
}
const TOKEN = /\s*(?:(\d+(?:\.\d*)?|\.\d+)|\\?([A-Za-z]+)|(.))/gy
/** An answer that is longer is compared as text. */
const MOST_CHARACTERS = 200

/**
 * Its value where each letter has the one that `letters` gives; null for what is no expression of this kind, or has no finite
 * value there.
 */
export function evaluate(text: string, letters: (name: string) => number): number | null {
  if (text.length > MOST_CHARACTERS) return null
  try {
    const value = new Reader(tokensOf(text), letters).whole()
    return Number.isFinite(value) ? value : null
  } catch (error) {
    if (error instanceof NotUnderstood) return null
    throw error
  }
}

class NotUnderstood extends Error {}

type Token = { readonly number: number } | { readonly word: string } | { readonly sign: string }

function tokensOf(text: string): Token[] {
  const plain = text
    .replace(/\\(?:left|right|,|;|!|quad|displaystyle)(?![A-Za-z])/g, ' ')
    .replace(/\\(?:d|t)frac/g, '\\frac')
  return [...plain.trimEnd().matchAll(TOKEN)].map(([, number, word, sign = '']) => {
    if (number !== undefined) return { number: Number(number) }
    return word === undefined ? { sign } : { word }
  })
}

/** Recursive descent: sums of products of powers. Two factors side by side are multiplied. */
class Reader {
  #at = 0
  readonly #tokens: readonly Token[]
  readonly #letters: (name: string) => number

  constructor(tokens: readonly Token[], letters: (name: string) => number) {
    this.#tokens = tokens
    this.#letters = letters
  }

  whole(): number {
    const value = this.#sum()
    if (this.#at < this.#tokens.length) throw new NotUnderstood()
    return value
  }

  #sum(): number {
    let value = this.#product()
    for (;;) {
      if (this.#took('+')) value += this.#product()
      else if (this.#took('-')) value -= this.#product()
      else return value
    }
  }

  #product(): number {
    let value = this.#signed()
    for (;;) {
      if (this.#took('*', 'cdot', 'times')) value *= this.#signed()
      else if (this.#took('/', 'div')) value /= this.#signed()
      else if (this.#beginsFactor()) value *= this.#power()
      else return value
    }
  }

  #signed(): number {
    if (this.#took('-')) return -this.#signed()
    if (this.#took('+')) return this.#signed()
    return this.#power()
  }

  #power(): number {
    const base = this.#factor()
    return this.#took('^') ? base ** this.#exponent() : base
  }

  #exponent(): number {
    return this.#took('-') ? -this.#exponent() : this.#power()
  }

  #factor(): number {
    const token = this.#tokens[this.#at++]
    if (!token) throw new NotUnderstood()
    if ('number' in token) return token.number
    if ('sign' in token) return this.#group(token.sign)
    if (token.word === 'frac') return this.#fraction()
    if (token.word === 'pi') return Math.PI
    const apply = Object.hasOwn(FUNCTIONS, token.word) ? FUNCTIONS[token.word] : undefined
    if (apply) return apply(this.#factor())
    // `xy` is x times y; longer words are names of something else.
    if (token.word.length > 2) throw new NotUnderstood()
    return [...token.word].reduce((product, letter) => product * this.#letters(letter), 1)
  }

  /** \frac takes two groups, or two digits side by side: \frac12. */
  #fraction(): number {
    const next = this.#tokens[this.#at]
    if (next && 'number' in next && Number.isInteger(next.number) && next.number >= 10 && next.number < 100) {
      this.#at++
      return Math.floor(next.number / 10) / (next.number % 10)
    }
    return this.#factor() / this.#factor()
  }

  #group(opening: string): number {
    const closing = { '(': ')', '[': ']', '{': '}' }[opening]
    if (closing === undefined) throw new NotUnderstood()
    const value = this.#sum()
    if (!this.#took(closing)) throw new NotUnderstood()
    return value
  }

  #beginsFactor(): boolean {
    const token = this.#tokens[this.#at]
    if (!token) return false
    if ('sign' in token) return ['(', '[', '{'].includes(token.sign)
    return !('word' in token) || !['cdot', 'times', 'div'].includes(token.word)
  }

  #took(...marks: readonly string[]): boolean {
    const token = this.#tokens[this.#at]
    const mark = token && ('sign' in token ? token.sign : 'word' in token ? token.word : undefined)
    if (mark === undefined || !marks.includes(mark)) return false
    this.#at++
    return true
  }
}
