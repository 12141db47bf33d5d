// matrix.md from the table of cases. Run it to write the file: `node --import tsx openapi/conformance/matrix.ts`.

import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { CASES, type Case, ELSEWHERE, type SdkVersion, TESTED, VERSIONS } from './cases.ts'

export const MATRIX_FILE = fileURLToPath(new URL('matrix.md', import.meta.url))

export function matrix(): string {
  const reasons = [...new Set(CASES.flatMap((c) => Object.values(c.holes ?? {})))]
  const row = (c: Case) => `| ${c.id} | ${c.says} | ${VERSIONS.map((v) => cell(c, v, reasons)).join(' | ')} |`
  return `# Cases and SDK versions

Made from \`cases.ts\` by \`matrix.ts\`; a test keeps it fresh. \`x\` runs and must pass, in \`npm test\` (${TESTED.join(', ')}) or in
\`npm run compat\` (all); a number is the reason why it cannot run.

| case | what it shows | ${VERSIONS.join(' | ')} |
| --- | --- |${' --- |'.repeat(VERSIONS.length)}
${CASES.map(row).join('\n')}

## Why not

${reasons.map((reason, i) => `${i + 1}. ${reason}`).join('\n')}

\`torch\`: the client needs PyTorch. Runs in a job of its own (\`npm run test:torch\`, with the newest SDK) and in \`npm run compat\`.

## Cases of the protocol that are not here

| case | where, or why not |
| --- | --- |
${Object.entries(ELSEWHERE)
  .map(([id, reason]) => `| ${id} | ${reason} |`)
  .join('\n')}
`
}

function cell(c: Case, version: SdkVersion, reasons: readonly string[]): string {
  const hole = c.holes?.[version]
  if (hole !== undefined) return String(reasons.indexOf(hole) + 1)
  return c.torch ? 'torch' : 'x'
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(MATRIX_FILE, matrix())
