// Package packaging holds its recipes to each other: what a release is made of
// (.goreleaser.yaml), how the program is built wherever it is built, and which
// files the Action and the documents expect.
package packaging
