package cli

// The tests of this package are external; these are the inner parts that have
// tables of their own.
var (
	Classify       = classify
	Report         = report
	Because        = because
	InWords        = inWords
	OneLine        = oneLine
	Opaque         = opaque
	Shown          = shown
	ShownPath      = shownPath
	Scrubbed       = scrubbed
	Span           = span
	RefuseTokens   = refuseTokens
	CleanToken     = cleanToken
	ErrInterrupted = errInterrupted
	ErrTimeout     = errTimeout
)

// Usage makes a usage error with a hint.
func Usage(msg, hint string) error { return usagef("%s", msg).hint(hint) }

// Undelivered makes the error of a sink that failed.
func Undelivered(err error) error { return &deliveryError{[]error{err}} }

// Unsaved makes the error of a record that the store did not take.
func Unsaved(err error, block bool, path string) error {
	return &unsavedError{err, kept{block, path}}
}

// StateFolder is environment.stateFolder.
func StateFolder(env func(string) (string, bool)) (string, error) {
	return environment(env).stateFolder()
}
