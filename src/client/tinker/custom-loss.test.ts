// Losses of one's own: what is sent of them, that traced ones have the gradients of what they compute, and what bad ones get.
import { afterEach, describe, expect, it } from 'vitest'
import { type CustomLoss, ModelInput, type TracedLoss, type TrainingClient } from './index.ts'
import { LossGraph, type LossValue } from './loss-graph.ts'
import { FakeServer, trainingOutput } from './testing/fake-server.ts'

let server: FakeServer
afterEach(() => {
  server = new FakeServer()
})

const datum = (...tokens: number[]) => ({
  modelInput: ModelInput.fromInts(tokens),
  lossFnInputs: { target_tokens: tokens.map((token) => token + 1) },
})

/** A client whose forward passes give these log-probabilities. */
async function trainingWith(logprobs: number[][]): Promise<TrainingClient> {
  server = new FakeServer()
  server.on('retrieve_future', ({ body }) =>
    String(body.request_id).startsWith('forward_backward') ? trainingOutput(logprobs, { 'loss:sum': 9 }) : undefined,
  )
  return server.client().createLoraTrainingClient({ baseModel: 'm' })
}

function weightsSent(): number[][] {
  const body = server.bodies('forward_backward').at(-1) as {
    data: { loss_fn_inputs: Record<string, { dense: Uint8Array }> }[]
  }
  return body.data.map(({ loss_fn_inputs: inputs }) =>
    Array.from(new Float32Array(Uint8Array.from(inputs.weights!.dense).buffer)),
  )
}

describe('a function of data and log-probabilities', () => {
  it('sends minus its gradients as weights, and its loss is the result', async () => {
    const training = await trainingWith([[-1, -2], [-3]])
    const seen: number[][] = []
    const loss: CustomLoss = async (data, logprobs) => {
      seen.push(...logprobs.map((each) => Array.from(each)))
      expect(data).toHaveLength(2)
      return { loss: 5, gradients: [[1, 2], new Float32Array([3])], metrics: { 'a:mean': 7 } }
    }
    const { metrics } = await training.forwardBackwardCustom([datum(1, 2), datum(3)], loss)
    expect(seen).toEqual([[-1, -2], [-3]])
    expect(weightsSent()).toEqual([[-1, -2], [-3]])
    expect(metrics).toEqual({ 'loss:sum': 5, 'surrogate_loss:sum': 9, 'a:mean': 7 })
    expect(server.bodies('forward_backward').map((body) => body.forward_only)).toEqual([true, false])
  })

  it('comes before what is called after it, although it waits for a result', async () => {
    const training = await trainingWith([[-1]])
    const custom = training.forwardBackwardCustom([datum(1)], () => ({ loss: 0, gradients: [[1]] }))
    const step = training.optimStep()
    await Promise.all([custom, step])
    const order = server.asked.filter(({ path }) => /forward_backward|optim_step/.test(path))
    expect(order.map(({ path, body }) => [path, body.seq_id])).toEqual([
      ['forward_backward', 1],
      ['forward_backward', 2],
      ['optim_step', 3],
    ])
  })

  it('that fails leaves no gap in the numbers', async () => {
    const training = await trainingWith([[-1]])
    const broken = () => {
      throw new Error('mine')
    }
    await expect(training.forwardBackwardCustom([datum(1)], broken)).rejects.toThrow('mine')
    await training.optimStep()
    expect(server.bodies('optim_step').map((body) => body.seq_id)).toEqual([2])
  })

  it('is cut into the same requests both times', async () => {
    server = new FakeServer()
    const lengths = new Map<string, number>()
    server.on('forward_backward', ({ body }) => {
      lengths.set(String(body.seq_id), (body.data as unknown[]).length)
      return { request_id: String(body.seq_id) }
    })
    server.on('retrieve_future', ({ body }) => {
      const count = lengths.get(String(body.request_id))
      return count === undefined ? undefined : trainingOutput(Array(count).fill([-1]), { 'loss:sum': 1 })
    })
    const training = await server.client().createLoraTrainingClient({ baseModel: 'm' })
    const data = [1, 2, 3, 4, 5].map((token) => datum(token))
    await training.forwardBackwardCustom(data, () => ({ loss: 0, gradients: data.map(() => [1]) }))
    // The fake server takes two data a request; the first chunk goes last.
    expect([...lengths]).toEqual([
      ['2', 2],
      ['3', 1],
      ['1', 2],
      ['5', 2],
      ['6', 1],
      ['4', 2],
    ])
  })

  const bad: Record<string, { value: Awaited<ReturnType<CustomLoss>>; problem: string }> = {
    'too few gradients': { value: { loss: 0, gradients: [] }, problem: 'gave 0 gradients for 1 data' },
    'a gradient of another length': { value: { loss: 0, gradients: [[1, 2]] }, problem: 'has 2 numbers instead of 1' },
    'a gradient that is no number': { value: { loss: 0, gradients: [[Number.NaN]] }, problem: 'is NaN at position 0' },
  }
  for (const [name, { value, problem }] of Object.entries(bad)) {
    it(`with ${name} is refused before the second pass`, async () => {
      const training = await trainingWith([[-1]])
      await expect(training.forwardBackwardCustom([datum(1)], () => value)).rejects.toThrow(problem)
      expect(server.bodies('forward_backward')).toHaveLength(1)
    })
  }

  it('needs targets', async () => {
    const training = await trainingWith([[-1]])
    const without = { modelInput: ModelInput.fromInts([1]), lossFnInputs: {} }
    const asked = training.forwardBackwardCustom([without], () => ({ loss: 0, gradients: [[0]] }))
    await expect(asked).rejects.toThrow('Datum 0 has no target_tokens')
  })
})

describe('a traced loss', () => {
  const a = [-0.5, -1.25, -2]
  const b = [0.3, 1.7, -0.4]
  /** Away from where minimum, clamp and abs have corners. */
  const losses: Record<string, (lp: LossValue, other: LossValue) => LossValue> = {
    'sums and products': (lp, other) => lp.mul(other).add(lp).sub(0.25).sum(),
    quotients: (lp, other) => lp.div(other).sum().add(other.div(lp).mean()),
    'ratios, clipped on one side': (lp, other) => {
      const ratio = lp.sub(other).exp()
      return ratio.mul(other).minimum(ratio.clamp(0.2, 1.2).mul(other)).sum().neg()
    },
    'roots, logarithms and squares': (lp) => lp.square().add(1).sqrt().log().sum(),
    'sigmoid, tanh, relu and abs': (lp, other) =>
      lp.sigmoid().mul(lp.tanh()).add(other.mul(lp).relu()).add(lp.abs()).maximum(lp.mul(3)).sum(),
    'a mean that is used twice': (lp) => {
      const mean = lp.mean()
      return lp.sub(mean).square().sum().mul(mean)
    },
  }
  for (const [name, loss] of Object.entries(losses)) {
    it(`of ${name} has the gradient of what it computes`, () => {
      const graph = new LossGraph(['logprobs', 'b'], (values) => ({
        loss: loss(values.logprobs!, values.b!),
        metrics: {},
      }))
      const at = (values: number[]) => graph.run([Float64Array.from(values), Float64Array.from(b)])
      const { gradient } = at(a)
      const step = 1e-6
      for (const [index, slope] of gradient.entries()) {
        const moved = (by: number) => at(a.map((value, i) => (i === index ? value + by : value))).loss
        expect(slope).toBeCloseTo((moved(step) - moved(-step)) / (2 * step), 5)
      }
    })
  }

  it('gives no gradient through what is detached', () => {
    const graph = new LossGraph(['logprobs'], ({ logprobs }) => ({
      loss: logprobs!.detach().mul(logprobs!).sum(),
      metrics: {},
    }))
    expect(Array.from(graph.run([Float64Array.from(a)]).gradient)).toEqual(a)
  })

  it('is computed here for a server that does not, with its metrics', async () => {
    const training = await trainingWith([[-1, -2]])
    const service = server.client()
    // The same session's client: a loss belongs to its session.
    const mine = await service.createLoraTrainingClient({ baseModel: 'm' })
    const squares: TracedLoss = ({ logprobs, weights }) => {
      const each = logprobs!.square().mul(weights!)
      return { loss: each.sum(), metrics: { 'custom/size:mean': each.mean() } }
    }
    const loss = await service.createCustomLoss('squares', squares, { logprobs: 1, weights: 1 })
    const weighted = { ...datum(1, 2), lossFnInputs: { ...datum(1, 2).lossFnInputs, weights: [1, 0.5] } }
    const { metrics } = await mine.forwardBackwardCustom([weighted], loss)
    expect(metrics).toEqual({ 'loss:sum': 3, 'surrogate_loss:sum': 9, 'custom/size:mean': 1.5 })
    expect(weightsSent()).toEqual([[2, 2]])
    await expect(mine.forwardBackwardCustom([datum(1, 2)], loss)).rejects.toThrow('Datum 0 has no weights')
    expect(training.modelId).toBe('s1:train:0')
  })

  it('names what it may not be', async () => {
    server = new FakeServer()
    const service = server.client()
    const sum: TracedLoss = ({ logprobs }) => ({ loss: logprobs!.sum(), metrics: { mine: logprobs!.sum() } })
    await expect(service.createCustomLoss('a', sum, { logprobs: 1 })).rejects.toThrow('custom/NAME:sum')
    await expect(service.createCustomLoss('a', sum, { weights: 1 })).rejects.toThrow('needs the rank of logprobs')
    await expect(service.createCustomLoss('a', sum, { logprobs: 1, 'Bad-Name': 1 })).rejects.toThrow('Bad-Name')
    const training = await service.createLoraTrainingClient({ baseModel: 'm' })
    const vector = await service.createCustomLoss('v', ({ logprobs }) => ({ loss: logprobs! }), { logprobs: 1 })
    server.on('retrieve_future', () => trainingOutput([[-1, -2]], { 'loss:sum': 1 }))
    await expect(training.forwardBackwardCustom([datum(1, 2)], vector)).rejects.toThrow(
      'reduce it with sum() or mean()',
    )
    const foreign = { ...vector, sessionId: 'another' }
    await expect(training.forwardBackwardCustom([datum(1, 2)], foreign)).rejects.toThrow('made in session another')
  })
})
