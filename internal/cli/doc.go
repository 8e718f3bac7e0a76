// Package cli is the command line of evergrant: options, parse, run, one file
// per command, and the wiring of the parts below it.
//
// # The terminal
//
// Standard output carries what was asked for and nothing else: a token, a
// JSON report, a table, a key. Everything else goes to standard error, one
// line each, prefixed "evergrant: ". Errors are lower-case and say what is
// wrong and where; a second line, "evergrant: hint: …", says what to do. A wait
// of more than a moment says what is waited for. -v adds the reasons of each
// step, -q leaves only errors, and the place of a record that is not in the store.
// With --json a failure is told on standard output as well. Colours appear on a
// terminal only, and never with NO_COLOR. Nothing but login asks a question: there is often
// nobody to answer.
//
// # Secrets
//
// A secret comes by environment variable or file, never by argument, because
// arguments are visible to every process and kept in histories. What looks like
// a token in an argument is refused and not repeated. No message carries a
// token, a header or a body; a digest names a token where one must be named.
//
// # Signals
//
// SIGINT, SIGTERM and SIGHUP cancel what waits, and never end a save: between
// the first byte of a request and the saved record the process only notes
// them, however often they come. What ended the waiting does not change what an
// error means: a token in doubt is in doubt. A closed pipe is an error of the
// write that met it, not the end of the process.
package cli
