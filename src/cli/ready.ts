// The ready block: the last thing on stdout once a server answers. Its first line has the address; it ends with lines that
// can be copied as they are.

export interface ReadyFacts {
  readonly url: string
  readonly models: readonly string[]
  readonly stateDir: string
  readonly hasKeys: boolean
  readonly version: string
}

export function readyBlock(facts: ReadyFacts): string {
  const lines = [
    `Twinkle ${facts.version} is ready at ${facts.url}`,
    `  models  ${facts.models.join(', ')}`,
    `  state   ${facts.stateDir}`,
    `  keys    ${facts.hasKeys ? 'those of `twinkle keys list` and of the configuration' : 'any key, each a tenant of its own'}`,
    '',
    'Run a Tinker script against it:',
    ...environmentLines(facts).map((line) => `  ${line}`),
    '  python your_script.py',
  ]
  return lines.join('\n')
}

/** What a shell needs for an unmodified script: HF_ENDPOINT lets `get_tokenizer()` read the served tokenizers. */
export function environmentLines({ url, hasKeys }: Pick<ReadyFacts, 'url' | 'hasKeys'>): string[] {
  const reachable = url.replace('//0.0.0.0:', '//127.0.0.1:').replace('//[::]:', '//[::1]:')
  return [
    `export TINKER_BASE_URL=${reachable}`,
    `export TINKER_API_KEY=${hasKeys ? '<one of your keys>' : 'tml-local'}`,
    `export HF_ENDPOINT=${reachable}`,
  ]
}
