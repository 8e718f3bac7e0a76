// Package login is how a person consents: the authorization code flow with PKCE
// (RFC 6749 §4.1, RFC 7636), answered by the browser on a loopback port (RFC 8252)
// or by a person who pastes what the browser shows, and the device flow (RFC 8628).
//
// It opens no store and prints nothing. The tokens of a sign-in come once: whoever
// calls makes sure beforehand that they can be saved.
//
// What the browser is shown holds no code and no token. The answer's own address
// does, so the browser is sent on from it, and its history keeps the page that it
// was sent to.
package login
