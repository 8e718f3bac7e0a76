// Package mutants removes one rule of the protocol after another from a copy
// of the code and expects the named test to fail. It holds the list
// (mutants.yaml) and its runner, which `make mutants` runs; nothing imports it.
package mutants
