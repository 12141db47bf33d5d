import { describe, expect, it } from 'vitest'
import type { Kwargs } from '../arguments.ts'
import { OPTIMIZER_NAMES, resolveOptimizer } from './optimizers.ts'

const ADAM = { learningRate: 1e-5, weightDecay: 0.01, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, clipNorm: 0 }

describe('an optimiser', () => {
  it.each([
    ['Adam', {}, { rule: 'adam', ...ADAM }],
    ['AdamW', { lr: 1e-4 }, { rule: 'adamw', ...ADAM, learningRate: 1e-4 }],
    ['Adam', { decoupled_weight_decay: true, weight_decay: 0 }, { rule: 'adamw', ...ADAM, weightDecay: 0 }],
    ['AdamW', { betas: [0.8, 0.9], eps: 1e-6 }, { rule: 'adamw', ...ADAM, beta1: 0.8, beta2: 0.9, epsilon: 1e-6 }],
    ['AdamW', { foreach: true, fused: null, amsgrad: false }, { rule: 'adamw', ...ADAM }],
    ['default', {}, { rule: 'adamw', ...ADAM }],
    [
      'MegatronOptimizer',
      { adam_beta2: 0.95, use_distributed_optimizer: true },
      { rule: 'adamw', ...ADAM, beta2: 0.95 },
    ],
    [
      'SGD',
      { lr: 0.1, momentum: 0.9, nesterov: true, weight_decay: 0 },
      {
        ...{ rule: 'sgd', learningRate: 0.1, weightDecay: 0, clipNorm: 0 },
        ...{ momentum: 0.9, dampening: 0, nesterov: true },
      },
    ],
  ] satisfies [string, Kwargs, object][])('%s with %j is plain data', (name, kwargs, spec) => {
    expect(resolveOptimizer(name, kwargs)).toEqual(spec)
  })

  it.each<[string, Kwargs, string, RegExp]>([
    ['Lion', {}, 'UNKNOWN_NAME', /There is no optimizer "Lion"/],
    ['toString', {}, 'UNKNOWN_NAME', /There is no optimizer "toString"/],
    ['Muon', {}, 'UNSUPPORTED_NAME', /The optimizer "Muon" is not done here: no engine has its rule/],
    ['SGD', { betas: [0.9, 0.9] }, 'UNKNOWN_ARGUMENT', /The optimizer SGD has no argument "betas"/],
    ['Adam', { momentum: 0.9 }, 'UNKNOWN_ARGUMENT', /has no argument "momentum"/],
    ['Adam', { lr: '1e-4' }, 'INVALID_ARGUMENT', /cannot take lr = "1e-4"/],
    ['Adam', { lr: -1 }, 'INVALID_ARGUMENT', /lr = -1/],
    ['Adam', { betas: [0.9] }, 'INVALID_ARGUMENT', /betas = \[0.9\]/],
    ['Adam', { betas: [0.9, 1] }, 'INVALID_ARGUMENT', /betas/],
    ['Adam', { eps: 0 }, 'INVALID_ARGUMENT', /eps = 0/],
    ['Adam', { amsgrad: true }, 'INVALID_ARGUMENT', /amsgrad = true/],
    ['SGD', { maximize: true }, 'INVALID_ARGUMENT', /maximize = true/],
    ['SGD', { nesterov: true }, 'INVALID_ARGUMENT', /nesterov = true/],
    ['default', { adam_eps: 1, eps: 1 }, 'INVALID_ARGUMENT', /adam_eps = 1/],
  ])('%s with %j is refused (%s)', (name, kwargs, code, sentence) => {
    expect(() => resolveOptimizer(name, kwargs)).toThrow(
      expect.objectContaining({ code, message: expect.stringMatching(sentence) }),
    )
  })

  it('that is not ours is answered with all of ours', () => {
    for (const name of ['Lion', 'Muon']) {
      expect(() => resolveOptimizer(name)).toThrow(
        expect.objectContaining({ next: `There are: ${OPTIMIZER_NAMES.join(', ')}.` }),
      )
    }
  })
})
