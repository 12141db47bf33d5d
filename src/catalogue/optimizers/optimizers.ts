// The optimisers that a request may name: torch's Adam, AdamW and SGD, and the names under which Megatron's Adam goes. Each
// comes down to an OptimizerSpec; defaults of a learning rate and weight decay are those of Twinkle's set_optimizer.

import { Arguments, type Kwargs } from '../arguments.ts'
import { unknownName, unsupportedName } from '../catalogue-error.ts'
import type { AdamSpec, OptimizerSpec, SgdSpec } from './spec.ts'

const LEARNING_RATE = 1e-5
const WEIGHT_DECAY = 0.01
/** Twinkle clips in a call of its own, which divides the gradient first. */
const NO_CLIPPING = { clipNorm: 0 }

const OPTIMIZERS: Readonly<Record<string, (args: Arguments) => OptimizerSpec>> = {
  Adam: (args) => {
    const spec = torchAdam(args, 'adam')
    return args.boolean('decoupled_weight_decay', false) ? { ...spec, rule: 'adamw' } : spec
  },
  AdamW: (args) => torchAdam(args, 'adamw'),
  SGD: sgd,
  default: megatron,
  MegatronOptimizer: megatron,
}

/** Of torch.optim, with the reason in a clause. */
const NOT_OURS: Readonly<Record<string, string>> = Object.fromEntries(
  [
    'Adadelta',
    'Adafactor',
    'Adagrad',
    'Adamax',
    'ASGD',
    'LBFGS',
    'Muon',
    'NAdam',
    'RAdam',
    'RMSprop',
    'Rprop',
    'SparseAdam',
  ].map((name) => [name, 'no engine has its rule']),
)

export const OPTIMIZER_NAMES = Object.keys(OPTIMIZERS)

/**
 * @param kwargs what came beside the name: `lr`, `weight_decay`, `betas`, `eps`, `momentum`, ...
 * @throws CatalogueError naming what is not known, with all that is
 */
export function resolveOptimizer(name: string, kwargs: Kwargs = {}): OptimizerSpec {
  const read = Object.hasOwn(OPTIMIZERS, name) ? OPTIMIZERS[name] : undefined
  if (!read) {
    const reason = Object.hasOwn(NOT_OURS, name) ? NOT_OURS[name] : undefined
    if (reason !== undefined) throw unsupportedName('optimizer', name, reason, OPTIMIZER_NAMES)
    throw unknownName('optimizer', name, OPTIMIZER_NAMES)
  }
  const args = new Arguments('optimizer', name, kwargs)
  const spec = read(args)
  args.end()
  return spec
}

function torchAdam(args: Arguments, rule: AdamSpec['rule']): AdamSpec {
  const shared = ofEveryRule(args)
  const [beta1, beta2] = betas(args, [0.9, 0.999])
  const epsilon = args.number('eps', 1e-8, { above: 0 })
  args.only('amsgrad', false)
  onlyHow(args, 'capturable')
  return { rule, ...shared, beta1, beta2, epsilon }
}

/** Megatron's Adam decouples weight decay. Its own words and torch's mean the same; giving both is refused. */
function megatron(args: Arguments): AdamSpec {
  const shared = ofEveryRule(args)
  for (const [own, other] of [
    ['adam_beta1', 'betas'],
    ['adam_beta2', 'betas'],
    ['adam_eps', 'eps'],
  ] as const) {
    if (args.has(own) && args.has(other)) args.refuse(own, `given alone: ${other} is given too`)
  }
  const [first, second] = betas(args, [0.9, 0.999])
  const beta1 = args.number('adam_beta1', first, { atLeast: 0, below: 1 })
  const beta2 = args.number('adam_beta2', second, { atLeast: 0, below: 1 })
  const epsilon = args.number('adam_eps', args.number('eps', 1e-8, { above: 0 }), { above: 0 })
  args.only('decoupled_weight_decay', true)
  args.ignore('use_distributed_optimizer')
  return { rule: 'adamw', ...shared, beta1, beta2, epsilon }
}

function sgd(args: Arguments): SgdSpec {
  const shared = ofEveryRule(args)
  const momentum = args.number('momentum', 0, { atLeast: 0 })
  const dampening = args.number('dampening', 0)
  const nesterov = args.boolean('nesterov', false)
  if (nesterov && !(momentum > 0 && dampening === 0)) {
    args.refuse('nesterov', 'false, or given with a momentum above 0 and a dampening of 0')
  }
  onlyHow(args)
  return { rule: 'sgd', ...shared, momentum, dampening, nesterov }
}

const ofEveryRule = (args: Arguments) => ({
  learningRate: args.number('lr', LEARNING_RATE, { atLeast: 0 }),
  weightDecay: args.number('weight_decay', WEIGHT_DECAY, { atLeast: 0 }),
  ...NO_CLIPPING,
})

const betas = (args: Arguments, fallback: readonly [number, number]) =>
  args.numbers('betas', fallback, { atLeast: 0, below: 1 }, 2) as readonly [number, number]

/** torch's words for how a step is computed: what makes no difference to its numbers is taken, what would is not. */
function onlyHow(args: Arguments, ...more: readonly string[]): void {
  args.only('maximize', false)
  args.only('differentiable', false)
  args.ignore('foreach', 'fused', ...more)
}
