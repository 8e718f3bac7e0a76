// Package githuboutput is the sink that sets the access token as an output of a
// GitHub Actions step.
package githuboutput

import "evergrant/internal/workflow"

// Open checks the name of the output and that the file at path, the value of
// GITHUB_OUTPUT, can be appended to.
func Open(name, path string, mask *workflow.Masker) (*workflow.Sink, error) {
	if err := workflow.ValidOutput(name); err != nil {
		return nil, err
	}
	if err := workflow.CheckFile("GITHUB_OUTPUT", path); err != nil {
		return nil, err
	}
	return workflow.NewSink("output", name, path, mask), nil
}
