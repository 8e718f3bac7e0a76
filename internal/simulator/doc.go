// Package simulator is a real OAuth authorization server whose behaviour, wire
// habits and faults are switches, and whose ledger tells what became of every
// presentation of every refresh token.
//
// [Model] is the provider without a network: a pure state machine that the
// simulation of the engine drives in memory. [Server] puts HTTP around it. It
// is strict where a client could be sloppy: client authentication, body types,
// repeated parameters, PKCE, redirect URIs. A client that works here has not
// been humoured.
//
// It serves (below Config.Path)
//
//	/token                 RFC 6749 refresh_token and authorization_code with
//	                       PKCE (RFC 7636), RFC 8628 device_code
//	/authorize, /callback  the code flow's pages; /callback shows the code to paste
//	/device_authorization  RFC 8628 §3.1; /device is the person's page
//	/revoke, /introspect   RFC 7009, RFC 7662
//	/userinfo              a protected resource: living access tokens only
//	/.well-known/…         RFC 8414 and OpenID discovery
//
// and, for whoever knows Server.AdminSecret, /_sim/ledger, /_sim/faults,
// /_sim/families, /_sim/clock and /_sim/revoke.
//
// Faults meet token requests only, and HTTP/1.1 only: they break connections
// at chosen bytes, which a multiplexed connection cannot express.
//
// It is no identity provider: it knows no passwords, issues no ID tokens, and
// keeps everything in memory.
package simulator
