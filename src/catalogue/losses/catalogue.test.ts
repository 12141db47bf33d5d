import { describe, expect, it } from 'vitest'
import { CATALOGUE_LOSSES, DEFAULT_LOSS, REFUSED_LOSSES, resolveCatalogueLoss } from './catalogue.ts'

const NAMES = Object.keys(CATALOGUE_LOSSES).join(', ')

describe('the name of a loss', () => {
  it.each(Object.values(CATALOGUE_LOSSES).map(({ name, key }) => [name, key]))('%s is also %s', (name, key) => {
    expect(resolveCatalogueLoss(key).name).toBe(name)
    expect(resolveCatalogueLoss(name)).toEqual(resolveCatalogueLoss(key))
    expect(CATALOGUE_LOSSES).toHaveProperty(name)
  })

  it.each(Object.entries(REFUSED_LOSSES))('%s is refused with the reason', (name, { key, reason }) => {
    for (const asked of [name, key]) {
      expect(() => resolveCatalogueLoss(asked)).toThrow(
        expect.objectContaining({
          code: 'UNSUPPORTED_NAME',
          message: `The loss "${name}" is not done here: ${reason}.`,
          next: `There are: ${NAMES}.`,
        }),
      )
    }
  })

  it.each(['FocalLoss', 'toString', '', 'GrpoLoss'])('%j is unknown, and all of ours are listed', (name) => {
    expect(() => resolveCatalogueLoss(name)).toThrow(
      expect.objectContaining({ code: 'UNKNOWN_NAME', next: `There are: ${NAMES}.` }),
    )
  })
})

describe('settings', () => {
  it('are complete and flat', () => {
    expect(resolveCatalogueLoss('GRPOLoss').config).toEqual({
      epsilon: 0.2,
      epsilon_high: 0.2,
      beta: 0,
      entropy_coef: 0,
    })
    expect(resolveCatalogueLoss('grpo', { epsilon: 0.1, epsilon_high: null }).config).toMatchObject({
      epsilon_high: 0.1,
    })
    expect(resolveCatalogueLoss('DPOLoss', { reference_free: true, loss_type: 'ipo' }).config).toEqual({
      beta: 0.1,
      label_smoothing: 0,
      loss_type: 'ipo',
      reference_free: 1,
      sft_weight: 0,
    })
    expect(DEFAULT_LOSS).toMatchObject({ name: 'CrossEntropyLoss', config: { reduction: 'sum' } })
  })

  it.each([
    ['GRPOLoss', { clip: 1 }, 'UNKNOWN_ARGUMENT', /no argument "clip"/],
    ['GRPOLoss', { ignore_index: -1 }, 'INVALID_ARGUMENT', /ignore_index = -1/],
    ['SimPOLoss', { ignore_index: 0 }, 'INVALID_ARGUMENT', /ignore_index = 0/],
    ['GRPOLoss', { beta: -1 }, 'INVALID_ARGUMENT', /beta = -1/],
    ['GRPOLoss', { epsilon: '0.2' }, 'INVALID_ARGUMENT', /epsilon = "0.2"/],
    ['PPOLoss', { loss_agg_mode: 'sum' }, 'INVALID_ARGUMENT', /loss_agg_mode = "sum"/],
    ['DRGRPOLoss', { max_completion_length: 0 }, 'INVALID_ARGUMENT', /max_completion_length = 0/],
    ['SAPOLoss', { tau_pos: 0 }, 'INVALID_ARGUMENT', /tau_pos = 0/],
    ['CrossEntropyLoss', { reduction: 'none' }, 'INVALID_ARGUMENT', /reduction = "none"/],
    ['CrossEntropyLoss', { dft: 1 }, 'INVALID_ARGUMENT', /dft = 1/],
    ['LigerFusedLinearCrossEntropyLoss', { softcap: 30 }, 'INVALID_ARGUMENT', /softcap = 30/],
    ['LigerFusedLinearCrossEntropyLoss', { dft: true }, 'UNKNOWN_ARGUMENT', /no argument "dft"/],
    ['ChunkedCrossEntropyLoss', { chunk_size: 0 }, 'INVALID_ARGUMENT', /chunk_size = 0/],
    ['DPOLoss', { loss_type: 'kto' }, 'INVALID_ARGUMENT', /loss_type = "kto"/],
    ['DPOLoss', { loss_type: 'hinge', label_smoothing: 0.1 }, 'INVALID_ARGUMENT', /label_smoothing = 0.1/],
    ['InfonceLoss', { use_batch: false, include_qq: true }, 'INVALID_ARGUMENT', /include_qq = true/],
    ['InfonceLoss', { hard_negatives: 0 }, 'INVALID_ARGUMENT', /hard_negatives = 0/],
    ['GKDLoss', { beta: 1.5 }, 'INVALID_ARGUMENT', /beta = 1.5/],
    ['GKDLoss', { temperature: 0 }, 'INVALID_ARGUMENT', /temperature = 0/],
    ['SimPOLoss', { gamma: Number.NaN }, 'INVALID_ARGUMENT', /gamma = NaN/],
  ])('of %s cannot be %j', (name, kwargs, code, message) => {
    expect(() => resolveCatalogueLoss(name, kwargs)).toThrow(
      expect.objectContaining({ code, message: expect.stringMatching(message) }),
    )
  })
})
