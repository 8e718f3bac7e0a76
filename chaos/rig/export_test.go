//go:build linux && (amd64 || arm64)

package rig

// ProgramOf names a program by its arguments.
var ProgramOf = programOf
