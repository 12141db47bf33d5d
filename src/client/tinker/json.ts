// JSON as it goes over the wire: undefined members are left out, and bigint is written as the integer it is, which
// JSON.stringify cannot do (seeds may be any 64-bit integer).

export function wireJson(value: unknown): string {
  if (typeof value === 'bigint') return value.toString()
  if (Array.isArray(value)) return `[${value.map(wireJson).join()}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null'
  const members = Object.entries(value).filter(([, member]) => member !== undefined)
  return `{${members.map(([name, member]) => `${JSON.stringify(name)}:${wireJson(member)}`).join()}}`
}
