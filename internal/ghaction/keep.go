package ghaction

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Keeper is the state by which the main step tells the post step which process
// in the background it has started: the name of its folder.
const Keeper = "keeper"

// How long a process in the background may live: by default as long as a job of
// a hosted runner, at most as long as one of a self-hosted runner.
//
// Source: GitHub Docs, "Actions limits" (job execution time).
const (
	usualKeep   = 6 * time.Hour
	longestKeep = 5 * 24 * time.Hour
)

// keep reads the inputs keep-fresh and keep-fresh-for.
func keep(env func(string) (string, bool)) (time.Duration, error) {
	said, span := strings.TrimSpace(value(env, "keep-fresh")), strings.TrimSpace(value(env, "keep-fresh-for"))
	wanted := false
	if said != "" {
		var err error
		if wanted, err = boolean(said); err != nil {
			return 0, fmt.Errorf("input keep-fresh: %w", err)
		}
	}
	switch {
	case !wanted && span != "":
		return 0, errors.New("input keep-fresh-for is given, and nothing is to be kept fresh: set keep-fresh: true, or leave it out")
	case !wanted:
		return 0, nil
	case span == "":
		return usualKeep, nil
	}
	life, err := time.ParseDuration(span)
	if err != nil || life <= 0 || life > longestKeep {
		return 0, fmt.Errorf("input keep-fresh-for must be a duration such as 90m, at most %.0fh", longestKeep.Hours())
	}
	return life, nil
}

// Handed are the variables that the process in the background gets from the main
// step, through a pipe: what [Read] and [Step.Lookup] make of them is the same
// step without what belonged to its own moment. The refresh token that a grant
// starts from goes along only where nothing is kept, because there each process
// starts anew; elsewhere the record is there by now.
func (s Step) Handed() map[string]string {
	keepsNothing := strings.TrimSpace(value(s.env, "store")) == "none:"
	handed := map[string]string{}
	for _, in := range inputs() {
		v := value(s.env, in.name)
		switch in.name {
		case "force", "after", "env-name", "keep-fresh", "keep-fresh-for":
			continue
		case "refresh-token", "no-create":
			if !keepsNothing && in.name == "refresh-token" {
				continue
			}
			if !keepsNothing {
				v = "true"
			}
		}
		if v != "" {
			handed["INPUT_"+strings.ToUpper(in.name)] = v
		}
	}
	for _, name := range passed() {
		if v, _ := s.env(name); v != "" && !ofStep(name) {
			handed[name] = v
		}
	}
	return handed
}

// ofStep reports a variable that names a file which the runner reads when the
// step ends, or what an earlier step has left.
func ofStep(name string) bool {
	return slices.Contains([]string{"GITHUB_OUTPUT", "GITHUB_ENV", "GITHUB_STATE", "GITHUB_STEP_SUMMARY"}, name) || strings.HasPrefix(name, "STATE_")
}
