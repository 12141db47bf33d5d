import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Candidates, chooseToken } from './token-choice.ts'

const ALL = { temperature: 1, topK: 0, topP: 1 }

/** The best `known` of a distribution, and the sum over all of it. */
function best(logits: readonly number[], temperature: number, known = logits.length): Candidates {
  const sorted = [...logits].sort((a, b) => b - a)
  const top = sorted[0] as number
  const temperedSum = sorted.reduce((sum, x) => sum + Math.exp((x - top) / (temperature || 1)), 0)
  return { logits: sorted.slice(0, known), temperedSum }
}

/** How often each candidate is chosen when the draw runs through [0, 1) evenly. */
function shares(candidates: Candidates, rule: typeof ALL, vocabulary: number, draws = 20_000): number[] {
  const counts = new Array<number>(vocabulary).fill(0)
  for (let i = 0; i < draws; i++) {
    const choice = chooseToken(candidates, rule, vocabulary, (i + 0.5) / draws) as number
    counts[choice] = (counts[choice] ?? 0) + 1
  }
  return counts.map((n) => n / draws)
}

const LOGITS = [Math.log(0.4), Math.log(0.3), Math.log(0.2), Math.log(0.1)]

describe('chooseToken', () => {
  const expectShares = (rule: Partial<typeof ALL>, expected: readonly number[]) => {
    const full = { ...ALL, ...rule }
    const got = shares(best(LOGITS, full.temperature), full, 4)
    for (const [i, share] of expected.entries()) expect(got[i]).toBeCloseTo(share, 3)
  }

  it('draws by probability', () => expectShares({}, [0.4, 0.3, 0.2, 0.1]))
  it('sharpens with temperature', () => expectShares({ temperature: 0.5 }, [16 / 30, 9 / 30, 4 / 30, 1 / 30]))
  it('renormalises after top_k', () => expectShares({ topK: 2 }, [4 / 7, 3 / 7, 0, 0]))
  it('keeps the token that crosses top_p', () => expectShares({ topP: 0.5 }, [4 / 7, 3 / 7, 0, 0]))
  it('keeps no more where top_p is met exactly', () => expectShares({ topP: 0.4 }, [1, 0, 0, 0]))
  it('applies top_p to what top_k left', () => expectShares({ topK: 2, topP: 0.57 }, [1, 0, 0, 0]))
  it('is greedy at temperature 0', () => expectShares({ temperature: 0 }, [1, 0, 0, 0]))

  it('chooses the same token from few candidates as from all, or asks for more', () => {
    const logit = fc.double({ min: -8, max: 8, noNaN: true })
    const rule = fc.record({
      temperature: fc.constantFrom(0, 0.3, 1, 2.5),
      topK: fc.constantFrom(0, 1, 3, 10, 100),
      topP: fc.constantFrom(1, 0.95, 0.5, 0.01),
    })
    fc.assert(
      fc.property(
        fc.array(logit, { minLength: 2, maxLength: 40 }),
        rule,
        fc.double({ min: 0, max: 0.999999, noNaN: true }),
        fc.nat(40),
        (logits, rule, draw, known) => {
          const all = chooseToken(best(logits, rule.temperature), rule, logits.length, draw)
          const some = chooseToken(
            best(logits, rule.temperature, 1 + (known % logits.length)),
            rule,
            logits.length,
            draw,
          )
          expect(all).toBeDefined()
          if (some !== undefined) expect(some).toBe(all)
        },
      ),
      { seed: 1, numRuns: 2000 },
    )
  })

  it('asks for more where the draw lies beyond what it knows', () => {
    expect(chooseToken(best(LOGITS, 1, 2), ALL, 4, 0.69)).toBe(1)
    expect(chooseToken(best(LOGITS, 1, 2), ALL, 4, 0.71)).toBeUndefined()
    expect(chooseToken(best(LOGITS, 1, 2), { ...ALL, topK: 3 }, 4, 0.1)).toBeUndefined()
    expect(chooseToken(best(LOGITS, 1, 2), { ...ALL, topP: 0.8 }, 4, 0.1)).toBeUndefined()
  })
})
