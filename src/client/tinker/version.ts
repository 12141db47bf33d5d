// The version this client names to servers. A constant, since a browser has no package.json; a test holds it to that.

export const CLIENT_VERSION = '0.1.0'
