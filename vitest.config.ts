import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: [
      'src/**/*.test.ts',
      'openapi/**/*.test.ts',
      'scripts/**/*.test.ts',
      'cookbook/**/*.test.ts',
      'models/**/*.test.ts',
    ],
    testTimeout: 30_000,
    hookTimeout: 120_000,
  },
})
