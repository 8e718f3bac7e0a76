package cli

// The tests of this package are external; these are the inner parts that have
// tables of their own.
var (
	Classify       = classify
	Report         = report
	OneLine        = oneLine
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

// StateFolder is environment.stateFolder.
func StateFolder(env func(string) (string, bool)) (string, error) {
	return environment(env).stateFolder()
}
