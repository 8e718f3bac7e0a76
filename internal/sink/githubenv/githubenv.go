// Package githubenv is the sink that exports the access token as a variable
// to the later steps of a GitHub Actions job.
package githubenv

import "evergrant/internal/workflow"

// Open checks the name of the variable and that the file at path, the value of
// GITHUB_ENV, can be appended to.
func Open(name, path string, mask *workflow.Masker) (*workflow.Sink, error) {
	if err := workflow.ValidVariable(name); err != nil {
		return nil, err
	}
	if err := workflow.CheckFile("GITHUB_ENV", path); err != nil {
		return nil, err
	}
	return workflow.NewSink("variable", name, path, mask), nil
}
