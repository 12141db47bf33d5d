// What whoever installed the package as a client alone is told when they ask for a server.
import { describe, expect, it } from 'vitest'
import { ServiceError } from './errors.ts'
import { absentPackage, missingPackage, withPackages } from './missing-package.ts'

/** As Node throws it. */
const notFound = (name: string) =>
  Object.assign(new Error(`Cannot find package '${name}' imported from /app/dist/server/app.js`), {
    code: 'ERR_MODULE_NOT_FOUND',
  })

describe('an optional package that is not there', () => {
  it('is named in one sentence, with the version to install and the way to all of them', async () => {
    const error = await withPackages(() => Promise.reject(notFound('koa'))).catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(ServiceError)
    expect((error as Error).message).toMatch(
      /^The optional package koa@\d+\.\d+\.\d+ is not installed; it is needed for a server\. Install it with `npm install koa@.*--include=optional`\.$/,
    )
  })

  it('keeps the cause', () => {
    const cause = new Error('no binary for this machine')
    expect(missingPackage('libsql', 'the SQLite database', cause).cause).toBe(cause)
  })

  it('is told from a package that is none of ours, and from a file of ours', async () => {
    expect(absentPackage(notFound('left-pad'))).toBeUndefined()
    expect(absentPackage(notFound('./app.js'))).toBeUndefined()
    expect(absentPackage(new Error("Cannot find package 'koa'"))).toBeUndefined()
    const other = new Error('something else')
    await expect(withPackages(() => Promise.reject(other))).rejects.toBe(other)
  })
})
