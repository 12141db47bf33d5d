// What a person at the keyboard should read while calls wait: whoever makes a client may take it, else the console shows it.

export type Tell = (level: 'info' | 'warning' | 'error', message: string) => void

/** Warnings and errors go to the console, as the Python SDK's log does. */
export const consoleTell: Tell = (level, message) => {
  if (level !== 'info') console.warn(`tinker: ${message}`)
}
