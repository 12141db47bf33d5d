// The pages of the README and the cookbook as data: their blocks of code, and the commands of these line by line. What is run
// and how is not known here.

import { readdirSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { ROOT } from './terminal.ts'

export interface Block {
  readonly page: string
  readonly language: string
  readonly code: string
}

export interface CommandLine {
  readonly page: string
  /** Without its comment. */
  readonly line: string
}

export const text = (file: string): string => readFileSync(join(ROOT, file), 'utf8')

/** Paths from the root of the checkout. */
export const PAGES: readonly string[] = [
  'README.md',
  ...readdirSync(join(ROOT, 'cookbook'), { recursive: true, encoding: 'utf8' })
    .filter((file) => basename(file) === 'README.md')
    .map((file) => join('cookbook', file))
    .sort(),
]

export const BLOCKS: readonly Block[] = PAGES.flatMap((page) =>
  [...text(page).matchAll(/^```(\S*)\n([\s\S]*?)^```$/gm)].map(([, language = '', code = '']) => ({
    page,
    language,
    code,
  })),
)

export const COMMANDS: readonly CommandLine[] = BLOCKS.filter(({ language }) => language === 'sh')
  .flatMap(({ page, code }) => code.split('\n').map((line) => ({ page, line: line.replace(/\s+#.*$/, '').trim() })))
  .filter(({ line }) => line !== '')

const TWINKLE = 'npm run twinkle -- '

/** Arguments of `twinkle`, of the lines that call it. */
export function twinkleArguments({ line }: CommandLine): string[] | null {
  return line.startsWith(TWINKLE) ? line.slice(TWINKLE.length).split(/\s+/) : null
}
