// What a tool-call parser is: it knows one way in which models write calls of tools into their text.

export interface ToolCall {
  readonly type: 'function'
  readonly function: { readonly name: string; readonly arguments: Readonly<Record<string, unknown>> }
}

export interface ToolCallParser {
  readonly name: string
  /** Whether the text looks like this way of writing at all: cheap, and may be wrong where `parse` finds nothing. */
  detect(text: string): boolean
  /** In the order of the text. What is cut off or malformed is left out. */
  parse(text: string): ToolCall[]
  /** The text without its calls, and without blanks at its end. */
  clean(text: string): string
}

export function toolCall(name: string, args: Readonly<Record<string, unknown>>): ToolCall {
  return { type: 'function', function: { name, arguments: args } }
}

/** JSON where it is JSON. */
export function jsonOr(text: string, other: unknown): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return other
  }
}
