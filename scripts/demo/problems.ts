// Problems with a checkable answer, for reinforcement learning: where they come from, and when an answer is right.

export interface Problem {
  readonly question: string
  readonly answer: string
}

export interface ProblemSet {
  /** What they are, in a word. */
  readonly name: string
  draw(random: () => number): Problem
  /** Problems to measure by; those that are trained on are drawn. */
  readonly exam: readonly Problem[]
  isRight(text: string, answer: string): boolean
}

/** `prompt` has {a} and {b}; only the bare number is right. */
export function sums(prompt: string, largestAddend: number, examSize: number): ProblemSet {
  const draw = (random: () => number): Problem => {
    const a = Math.floor(random() * (largestAddend + 1))
    const b = Math.floor(random() * (largestAddend + 1))
    return { question: prompt.replace('{a}', String(a)).replace('{b}', String(b)), answer: String(a + b) }
  }
  const random = randomOf(1000)
  return {
    name: 'sums',
    draw,
    exam: Array.from({ length: examSize }, () => draw(random)),
    isRight: (text, answer) => text.trim() === answer,
  }
}

const TRAINED_CAPITALS = {
  France: 'Paris',
  Japan: 'Tokyo',
  Italy: 'Rome',
  Spain: 'Madrid',
  Germany: 'Berlin',
  Russia: 'Moscow',
  China: 'Beijing',
  Egypt: 'Cairo',
  Greece: 'Athens',
  Austria: 'Vienna',
}
const EXAM_CAPITALS = {
  England: 'London',
  Portugal: 'Lisbon',
  India: 'New Delhi',
  Canada: 'Ottawa',
  Ireland: 'Dublin',
  Norway: 'Oslo',
  Poland: 'Warsaw',
  Hungary: 'Budapest',
}

/** An answer is right when it has the city in it; the countries of the exam are not trained on. */
export function capitals(prompt: string): ProblemSet {
  const listed = (cities: Readonly<Record<string, string>>) =>
    Object.entries(cities).map(([country, city]) => ({ question: prompt.replace('{country}', country), answer: city }))
  const trained = listed(TRAINED_CAPITALS)
  return {
    name: 'capitals',
    draw: (random) => trained[Math.floor(random() * trained.length)]!,
    exam: listed(EXAM_CAPITALS),
    isRight: (text, answer) => text.includes(answer),
  }
}

/** Numbers in [0, 1), the same for the same seed (mulberry32). */
export function randomOf(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
