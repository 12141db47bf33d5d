// What a program that embeds a server needs: its configuration, its start, and the interface of a compute backend. The
// client is `twinkle-ts/tinker`.

export { defineBackend } from './backends/backend.ts'
export { ConfigError, type ConfigInput, type LoadedConfig, loadConfig, type ServerConfig } from './server/config.ts'
export { type RunningServer, startServer } from './server/server.ts'
