// Whoever looks on while work is done: metrics, progress. They are told once a result is durable, must be quick and must not
// throw.

import type { Usage } from './usage.ts'

export interface Onlooker {
  /** A forward_backward has ended: its loss is a sum over `targets` tokens. */
  trained?(run: string, pass: { readonly loss: number; readonly tokens: number; readonly targets: number }): void
  stepped?(run: string, step: number): void
  /** By the sampling session; null for a sample of none. */
  drew?(sampler: string | null, drawn: { readonly sequences: number; readonly tokens: number }): void
  /** The ledger has these tokens. */
  used?(usage: Pick<Usage, 'tenant' | 'kind' | 'tokens'>): void
}

export class Onlookers implements Required<Onlooker> {
  readonly #all: Onlooker[] = []

  add(onlooker: Onlooker): void {
    this.#all.push(onlooker)
  }

  trained(...told: Parameters<Required<Onlooker>['trained']>): void {
    for (const onlooker of this.#all) onlooker.trained?.(...told)
  }
  stepped(...told: Parameters<Required<Onlooker>['stepped']>): void {
    for (const onlooker of this.#all) onlooker.stepped?.(...told)
  }
  drew(...told: Parameters<Required<Onlooker>['drew']>): void {
    for (const onlooker of this.#all) onlooker.drew?.(...told)
  }
  used(...told: Parameters<Required<Onlooker>['used']>): void {
    for (const onlooker of this.#all) onlooker.used?.(...told)
  }
}
