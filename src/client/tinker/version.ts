// Who this client is, and whose requests it sends. Constants, since a browser has no package.json; a test holds the first to
// it. Servers choose their flags by the version that they are told, so they are told the one whose protocol this is.

export const CLIENT_VERSION = '0.1.0'

/** The Python SDK that this client sends the requests of. */
export const PROTOCOL_VERSION = '0.38.0'
