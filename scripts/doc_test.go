// Package scripts_test holds the three scripts to what they promise. What needs
// only Go is tested always: their size, their words, what they put into
// arguments. With the build tag e2e they are run, beside the program, against
// one table of a provider's behaviours; that needs bash, curl, jq, Python, Node
// and gh, and is done by e2e/run.
package scripts_test
