// What a program needs that trains in its own process (the native client's classes, see `local/`), and one that embeds a
// server: its configuration, its start, and the interface of a compute backend. Servers are loaded when they start, so
// that this also imports where the package was installed as a client. Clients alone: `twinkle-ts/client`, `twinkle-ts/tinker`.

export { defineBackend } from './backends/backend.ts'
export * from './local/index.ts'
export * from './server/index.ts'
