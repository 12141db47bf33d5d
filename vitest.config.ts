import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'
import { canStartPostgres } from './src/server/store/testing/postgres-server.ts'

/** What works on a database is tested on both kinds. */
const ON_DATABASES = [
  'src/server/*.test.ts',
  'src/server/{store,services,tinker,twinkle,datums}/*.test.ts',
  'src/cli/state.test.ts',
]
const POSTGRES_ONLY = [
  'src/server/store/{postgres,postgres-signals}.test.ts',
  'src/server/services/{shared-database,engine-leases}.test.ts',
]
/**
 * Those have no database, or are about SQLite: two-servers.test.ts tells one server of another's uncommitted work, and the
 * clock of retention.test.ts leaps over hours, in which pg gives its connections up.
 */
const SQLITE_ONLY = [
  'src/server/{config,errors,missing-package,model-backends}.test.ts',
  'src/server/store/{state-lock,postgres-driver,shared-sync,sqlite,sqlite-driver,turns}.test.ts',
  'src/server/services/{two-servers,retention}.test.ts',
]

const sqlite = {
  extends: true as const,
  test: {
    name: 'sqlite',
    include: [
      'src/**/*.test.ts',
      'openapi/**/*.test.ts',
      'scripts/**/*.test.ts',
      'cookbook/**/*.test.ts',
      'models/**/*.test.ts',
    ],
    exclude: POSTGRES_ONLY,
  },
}
const postgres = {
  extends: true as const,
  test: {
    name: 'postgresql',
    include: ON_DATABASES,
    exclude: SQLITE_ONLY,
    globalSetup: ['src/server/store/testing/postgres-setup.ts'],
  },
}

const hasPostgres = canStartPostgres()
if (!hasPostgres) {
  const sentence = 'PostgreSQL cannot be started here: install the optional packages, or PostgreSQL itself.'
  if (process.env.CI === 'true') throw new Error(sentence)
  console.warn(`NOT RUN, the tests on PostgreSQL. ${sentence}`)
}

export default defineConfig({
  // As for modules of backends in a server: what they import is the interface of whoever loads them.
  resolve: { alias: { 'twinkle-ts/backends': fileURLToPath(new URL('src/backends/index.ts', import.meta.url)) } },
  test: { testTimeout: 30_000, hookTimeout: 120_000, projects: hasPostgres ? [sqlite, postgres] : [sqlite] },
})
