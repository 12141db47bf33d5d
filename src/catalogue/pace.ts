// How long work over many rows is done without making others wait or filling memory: it asks between rows. Who does the work
// brings a pace along (a server one that lets requests through; a script one that does neither).

export interface Pace {
  /** Asked between pieces of work: settles when more may be done. Throws to end the work. */
  rest(): Promise<void>
  /** Told of what is kept from now on, in bytes (negative: let go of). Throws where that is too much; then it is not counted. */
  hold(bytes: number): void
}

/** For tests and scripts: no rest, no bound. */
export const UNBOUND: Pace = { rest: async () => {}, hold: () => {} }
