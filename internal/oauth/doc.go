// Package oauth is the client of one OAuth token endpoint: it presents a
// refresh token once (RFC 6749 §6) and says what became of it.
//
// # One attempt
//
// There is no http.Transport in this package. A [Client] dials by itself, puts
// the whole request into one buffer, writes it once, and reads one answer by
// HTTP/1.1. Go's own transport may send a request again when an idle connection
// breaks, and its HTTP/2 half does so after GOAWAY, REFUSED_STREAM and
// PROTOCOL_ERROR; each of these spends a rotating refresh token twice. ALPN
// offers http/1.1 only, so that a server which insists on HTTP/2 fails in the
// handshake, before anything is sent. Redirects are never followed.
//
// [Client.Connect] resolves, dials, passes the proxy and shakes hands; it sends
// nothing of the request. Refresh builds and signs everything, then asks the
// gate, looks at the context for the last time, makes sure that the server has
// not hung up meanwhile, and writes. From then on only the request timeout
// counts, and it bounds the whole answer, not each read of it.
//
// # What an answer means
//
// An answer is taken as a token set when its status is 2xx and it holds tokens.
// Otherwise the first row that matches decides, in this order: a text that the
// preset names (the whole reason, status, message or error_description: some
// providers answer invalid_request for a spent token, and only the text tells), a
// code that the preset names, the rows "code", a status that the preset names,
// the rows "status". [Table] is the same table, and what the code runs on.
//
//	code    invalid_grant                                     rejected
//	code    invalid_client, invalid_request,
//	        unauthorized_client, unsupported_grant_type,
//	        invalid_scope, unless 5xx                         refused
//	code    slow_down                                         unspent
//	code    server_error, internal_error,
//	        internal_server_error                             in doubt
//	code    temporarily_unavailable, unless 429 or 503        in doubt
//	status  429                                               unspent
//	status  503 with Retry-After                              unspent
//	status  408, any other 5xx                                in doubt
//	status  any 3xx, any other 4xx                            refused
//	status  anything else                                     in doubt
//
// An answer that did not arrive whole is in doubt, whatever its status says;
// one whose first byte of request never left is unspent.
//
// # Never losing a chain
//
// The reply holds the only copy of the next refresh token, so reading it is
// lenient where that is harmless and strict where it is not:
//
//   - A member that cannot be read (an expires_in of "soon", a scope that is a
//     number) costs itself only. Lives that are not positive or exceed ten
//     years count as not given.
//   - A refresh token is kept byte for byte, whatever characters it has and
//     however long it is: it is only ever sent back, encoded, to where it came
//     from.
//   - An access token goes into environment files, so one that is not made of
//     printable ASCII (RFC 6749 appendix A.12) or exceeds 64 KiB is dropped. The
//     refresh token beside it is kept: the result is a [grant.TokenSet] whose
//     Access.Value is zero. Without a refresh token beside it the fate is
//     Refused: the presented token stays, and nothing usable was issued.
//   - In a reply that is cut or is no valid JSON, a complete refresh_token
//     string is salvaged, and so are the members around it. In a cut one the
//     presented token proves nothing: the new one may be in what is missing.
//   - When that fails, a 2xx reply is handed back as Raw if it looks like JSON or
//     names a token. Of a cut reply and of an HTML page that is done only where it
//     may hold a refresh token other than the presented one: a reply that cannot
//     hold one must not block a recovery.
//   - When a member is repeated, the last one counts that is not null or empty.
//
// Errors carry causes in words of this package and the provider's error code
// after cleaning, never a body, a header or a token.
package oauth
