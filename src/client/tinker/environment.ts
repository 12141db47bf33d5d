// Settings from the environment where there is one: in a browser there is none, and nothing is set.

interface ProcessLike {
  readonly env?: Readonly<Record<string, string | undefined>>
  readonly platform?: string
}

const { process } = globalThis as { process?: ProcessLike }

/** Undefined for an empty one too. */
export function variable(name: string): string | undefined {
  return process?.env?.[name] || undefined
}

export function isSwitchedOn(name: string): boolean {
  return ['1', 'true', 'yes', 'on'].includes((variable(name) ?? '').toLowerCase())
}

/** `Linux`, `Darwin`, `Windows`, else `Browser` or the platform's own name. */
export function platformName(): string {
  const names: Readonly<Record<string, string>> = { linux: 'Linux', darwin: 'Darwin', win32: 'Windows' }
  const platform = process?.platform ?? 'Browser'
  return names[platform] ?? platform
}
