// docs/reference/losses.md says of every loss of the catalogue what the code says: names, what it reads, arguments with their
// defaults, formula and source.

import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import {
  CATALOGUE_LOSSES,
  type CatalogueLossName,
  catalogueLoss,
  REFUSED_LOSSES,
  resolveCatalogueLoss,
} from './catalogue.ts'
import { type CatalogueInput, type CatalogueLoss, WIRE_NAMES } from './loss.ts'

const page = readFileSync(new URL('../../../docs/reference/losses.md', import.meta.url), 'utf8')

/** What a loss takes, from its own refusal of what it does not. */
function argumentsOf(name: string): string[] {
  try {
    resolveCatalogueLoss(name, { 'no argument': 1 })
  } catch (error) {
    return (error as { next: string }).next.replace(/^It takes |\.$/g, '').split(', ')
  }
  throw new Error(`${name} takes anything`)
}

/** Flags are 0 and 1 within, and false and true without. */
const FLAGS = ['dft', 'reference_free', 'use_batch', 'mask_fake_negative', 'include_qq', 'include_dd']
/** What has no place in the settings: it changes no number, or has one value only. */
const NO_SETTING: Readonly<Record<string, string>> = {
  chunk_size: 'without effect',
  ignore_index: '-100 only',
  label_smoothing: '0 only',
  softcap: 'null only',
}

function argumentText(name: string, argument: string): string {
  if (argument === 'hard_negatives') return 'hard_negatives null'
  if (argument === 'epsilon_high') return 'epsilon_high (as epsilon)'
  const value = resolveCatalogueLoss(name).config[argument]
  if (value === undefined) return `${argument} (${NO_SETTING[argument]})`
  return `${argument} ${FLAGS.includes(argument) ? Boolean(value) : value}`
}

function rowOf(loss: CatalogueLoss): string {
  const words = (inputs: readonly CatalogueInput[]) => inputs.map((input) => WIRE_NAMES[input]).join(', ')
  const reads = [words(loss.required), loss.optional.length ? `(${words(loss.optional)})` : '']
    .filter(Boolean)
    .join(' ')
  const taken = argumentsOf(loss.name).map((argument) => argumentText(loss.name, argument))
  return `| \`${loss.name}\` \`${loss.key}\` | ${reads} | ${taken.join(', ')} | ${loss.formula} | ${loss.source} |`
}

describe('docs/reference/losses.md', () => {
  it.each(Object.keys(CATALOGUE_LOSSES) as CatalogueLossName[])('has the row of %s', (name) => {
    expect(page.split('\n').filter((line) => line.startsWith(`| \`${name}\``))).toEqual([rowOf(catalogueLoss(name))])
  })
  it.each(Object.entries(REFUSED_LOSSES))('says why %s is refused', (name, { key, reason }) => {
    expect(page).toContain(`| \`${name}\` \`${key}\` | ${reason} |`)
  })
})
