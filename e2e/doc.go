// Package e2e drives the real binary against peers that this project did not
// write, among them a runner of GitHub workflows and a forge, and against the
// machine's own ways of failing: kill -9, a full disk, a read-only mount, a
// private CA, a proxy. Its tests carry the build tag e2e, need Node and Linux,
// and are run by e2e/run.
package e2e
