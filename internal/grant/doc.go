// Package grant says what things are: the nouns of evergrant, the contracts
// between its parts and the errors that they share. It imports the standard
// library only, and nothing in it does I/O.
//
// A grant is an owner's standing consent to one client at one provider; it
// survives every rotation of its refresh token. A [Credential] is the stored
// record of a grant. A [Store] holds credentials and offers compare-and-swap,
// a [Refresher] spends a refresh token once, a [Sink] takes an access token.
package grant
