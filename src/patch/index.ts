// The public surface of `twinkle-ts/patch`.

export type { CompatOptions } from './compat-options.ts'
export { type CompatClientOptions, initTinkerClient, initTinkerCompatClient, restore } from './tinker-compat.ts'
