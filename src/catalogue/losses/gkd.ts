// Generalised knowledge distillation: Agarwal et al., arXiv 2306.13649, equation 1, over the k tokens that the teacher thinks
// likeliest at each position. Targets are those tokens, (N, K); both distributions are taken over them alone. As softmax
// does not see a constant, the log-probabilities of the whole vocabulary serve as logits.

import { type JointCatalogueLoss, type LossDatum, onlyIgnored } from './loss.ts'
import { tokenMean } from './shares.ts'

type GkdSettings = {
  /** 0: KL(teacher, student). 1: KL(student, teacher). Between: Jensen-Shannon, with this much teacher in the mixture. */
  readonly beta: number
  readonly temperature: number
}

export const gkd: JointCatalogueLoss<GkdSettings> = {
  name: 'GKDLoss',
  key: 'gkd',
  kind: 'sequence',
  formula:
    'beta KL(T, M) + (1 - beta) KL(S, M), M = beta T + (1 - beta) S; KL(T, S) for beta 0, KL(S, T) for beta 1; T and S at ' +
    'the temperature, over the top k of the teacher; mean over all tokens',
  source: 'arXiv 2306.13649',
  required: ['mask', 'teacher_topk_logprobs'],
  optional: [],
  soft: true,
  settings(args) {
    onlyIgnored(args)
    // How many positions are computed at once is the engine's own business.
    args.integer('chunk_size', 512, { atLeast: 1 })
    return {
      beta: args.number('beta', 0.5, { atLeast: 0, atMost: 1 }),
      temperature: args.number('temperature', 1, { above: 0 }),
    }
  },
  reduction: () => 'mean',
  shares: tokenMean,
  problem: ({ width }) =>
    width > 1 ? undefined : 'teacher_topk_logprobs has 1 token a position; distributions need at least 2',
  joint(datums, logprobs, settings) {
    let loss = 0
    const shares = tokenMean(datums)
    const slopes = datums.map((datum, i) => {
      const own = logprobs[i] as Float64Array
      const found = new Float64Array(own.length)
      shares[i]?.forEach((share, at) => {
        if (share === 0) return
        const { divergence, slope } = diverge(datum, own, at, settings)
        loss += share * divergence
        slope.forEach((g, k) => {
          found[at * datum.width + k] = -share * g
        })
      })
      return found
    })
    return { loss, slopes }
  },
}

/** The divergence at one position, and its derivative by each of the student's log-probabilities. */
function diverge({ width, teacher_topk_logprobs: teacher }: LossDatum, own: Float64Array, at: number, s: GkdSettings) {
  const row = (values: ArrayLike<number>) =>
    logSoftmax(Array.from({ length: width }, (_, k) => (values[at * width + k] as number) / s.temperature))
  const [student, wanted] = [row(own), row(teacher as Float32Array)]
  const { divergence, byLogit } = divergenceOf(student, wanted, s.beta)
  return { divergence, slope: byLogit.map((g) => g / s.temperature) }
}

/** From log-probabilities: the divergence, and its derivative by each of the student's logits. */
function divergenceOf(student: readonly number[], teacher: readonly number[], beta: number) {
  if (beta === 0) {
    return {
      divergence: kl(teacher, student),
      byLogit: student.map((l, k) => Math.exp(l) - Math.exp(teacher[k] as number)),
    }
  }
  if (beta === 1) return { divergence: kl(student, teacher), byLogit: klSlope(student, teacher) }
  const mixture = student.map((l, k) => logSumExp([Math.log(beta) + (teacher[k] as number), Math.log1p(-beta) + l]))
  return {
    divergence: beta * kl(teacher, mixture) + (1 - beta) * kl(student, mixture),
    // What moves the mixture itself cancels out.
    byLogit: klSlope(student, mixture).map((g) => (1 - beta) * g),
  }
}

/** The divergence of b from a, which is KL(a, b). */
const kl = (a: readonly number[], b: readonly number[]) =>
  a.reduce((sum, l, k) => sum + Math.exp(l) * (l - (b[k] as number)), 0)

/** Its derivative by the logits of a. */
function klSlope(a: readonly number[], b: readonly number[]): number[] {
  const divergence = kl(a, b)
  return a.map((l, k) => Math.exp(l) * (l - (b[k] as number) - divergence))
}

function logSumExp(values: readonly number[]): number {
  const max = Math.max(...values)
  return max + Math.log(values.reduce((sum, v) => sum + Math.exp(v - max), 0))
}

function logSoftmax(values: readonly number[]): number[] {
  const shift = logSumExp(values)
  return values.map((v) => v - shift)
}
