// The recipes with the Python cookbook (minutes to run, in the environment of the torch job, so they are not part of `npm test`):
// `npm run test:recipes`. Where the environment cannot be made they fail.

import { defineConfig } from 'vitest/config'

process.env.CI = 'true'
export default defineConfig({
  test: { include: ['cookbook/recipes/*.recipe.ts'], testTimeout: 600_000, hookTimeout: 300_000, maxWorkers: 2 },
})
