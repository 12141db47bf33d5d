// What `twinkle-ts/backends` is to a backend's module: the interface of the very server that loads it, wherever the module
// lies. So a backend needs no installation beside it, errors are of one class on both sides, and a checkout works without
// a build. Node asks a hook for the name; worker processes get the same hook on their command line.

const NAME = 'twinkle-ts/backends'
/** Beside this file, in its form: sources as .ts, what was built as .js. */
const ENTRY = new URL(import.meta.url.endsWith('.ts') ? './index.ts' : './index.js', import.meta.url)

const asModule = (source: string) => `data:text/javascript,${encodeURIComponent(source)}`

const HOOK = asModule(
  `export const resolve = (name, context, next) =>
    next(name === ${JSON.stringify(NAME)} ? ${JSON.stringify(ENTRY.href)} : name, context)`,
)

/** A module that makes the name known where it is imported; for `node --import` too. */
export const OWN_PACKAGE = asModule(
  `import { register } from 'node:module'
  register(${JSON.stringify(HOOK)})`,
)

/** Makes the name known in this process, once. */
export async function provideOwnPackage(): Promise<void> {
  await import(OWN_PACKAGE)
}
