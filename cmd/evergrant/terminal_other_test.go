//go:build !unix

package main

import "github.com/rogpeppe/go-internal/testscript"

// cmdSignals has no terminal here.
func cmdSignals(ts *testscript.TestScript, neg bool, args []string) {
	ts.Fatalf("there are no such signals")
}

// countSignals has none to count.
func countSignals() {}
