// The job that needs PyTorch in the client (2.5 GB to download, so it is not part of `npm test`):
// `npx vitest run --config openapi/conformance/torch.config.ts`. Where the environment cannot be made it fails.

import { defineConfig } from 'vitest/config'

process.env.CI = 'true'
export default defineConfig({ test: { include: ['openapi/conformance/*.torch.ts'] } })
