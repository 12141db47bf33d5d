// The metrics that a request may name, and how they are kept: a spec (what was asked for) and counts (what passes added), both
// plain JSON. Whoever has an adapter keeps two lists of them, for passes that train and for those that only look.

import { Arguments, type Kwargs } from '../arguments.ts'
import { CatalogueError, unknownName, unsupportedName } from '../catalogue-error.ts'
import { accuracy, lossMetric, trainMetric } from './basic.ts'
import { dpoMetric } from './dpo.ts'
import { embeddingMetric } from './embedding.ts'
import type { Counts, Metric, MetricConfig, MetricMoment, MetricPass, MetricResult } from './metric.ts'
import { cispoMetric, grpoMetric, gspoMetric, ppoMetric } from './policy.ts'
import { ppoValueMetric } from './value.ts'

const METRICS: Readonly<Record<string, Metric>> = {
  LossMetric: lossMetric,
  Accuracy: accuracy,
  TrainMetric: trainMetric,
  DPOMetric: dpoMetric,
  EmbeddingMetric: embeddingMetric,
  GRPOMetric: grpoMetric,
  GSPOMetric: gspoMetric,
  CISPOMetric: cispoMetric,
  PPOMetric: ppoMetric,
  PPOValueMetric: ppoValueMetric,
}
const NOT_OURS: Readonly<Record<string, string>> = {
  CompletionRewardMetric: 'it counts rewards, which clients have and servers do not',
}

export const METRIC_NAMES = Object.keys(METRICS)

/** What every adapter has before it asks for more. */
export const DEFAULT_METRICS = ['LossMetric', 'Accuracy', 'TrainMetric'] as const

/** A metric, its arguments, and what it has counted since it was last asked. Plain JSON. */
export interface KeptMetric {
  readonly name: string
  readonly config: MetricConfig
  readonly counts: Counts
}

/** A metric that counts from now on. Throws CatalogueError naming what is not known, with all that is. */
export function resolveMetric(name: string, kwargs: Kwargs, moment: Pick<MetricMoment, 'now' | 'passes'>): KeptMetric {
  const known = Object.hasOwn(METRICS, name) ? METRICS[name] : undefined
  if (!known) {
    const reason = Object.hasOwn(NOT_OURS, name) ? NOT_OURS[name] : undefined
    if (reason !== undefined) throw unsupportedName('metric', name, reason, METRIC_NAMES)
    throw unknownName('metric', name, METRIC_NAMES)
  }
  const args = new Arguments('metric', name, kwargs)
  const config = known.read(args)
  args.end()
  return { name, config, counts: known.begin(moment) }
}

/** Asked before a pass is submitted. Throws CatalogueError where a metric cannot take so many rows. */
export function checkMetrics(metrics: readonly KeptMetric[], rows: number): void {
  for (const { name } of metrics) {
    const wanted = metricOf(name).problem?.(rows)
    if (wanted === undefined) continue
    throw new CatalogueError('INVALID_ARGUMENT', `The metric ${name} needs ${wanted}.`, 'Send whole pairs.')
  }
}

/** After a pass. */
export function addToMetrics(metrics: readonly KeptMetric[], pass: MetricPass): KeptMetric[] {
  return metrics.map((kept) => ({ ...kept, counts: metricOf(kept.name).add(kept.config, kept.counts, pass) }))
}

/** What all of them say, and the metrics as they count from now on. A key that two of them give is that of the later one. */
export function calculateMetrics(
  metrics: readonly KeptMetric[],
  moment: MetricMoment,
): { readonly result: MetricResult; readonly metrics: KeptMetric[] } {
  const results = metrics.map(({ name, config, counts }) => metricOf(name).result(config, counts, moment))
  return {
    result: Object.assign({}, ...results),
    metrics: metrics.map((kept) => ({ ...kept, counts: metricOf(kept.name).begin(moment, kept.counts) })),
  }
}

const metricOf = (name: string): Metric => METRICS[name] as Metric
