package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// job is one process of this program that works on the demonstration's grant.
type job struct {
	cmd            *exec.Cmd
	stdout, stderr bytes.Buffer
	report         refreshReport
	code           int
	took           time.Duration
	done           chan struct{} // closed when the process has ended
	err            error         // of waiting, once done
}

// start runs this program with the demonstration's settings and nothing else
// of our environment.
func (d *demonstration) start(ctx context.Context, stdin string, args ...string) (*job, error) {
	j := &job{done: make(chan struct{})}
	j.cmd = exec.CommandContext(ctx, d.exe, append(args, "--speed-up", strconv.Itoa(demoSpeed))...)
	j.cmd.Env, j.cmd.Dir = d.settings, d.dir
	j.cmd.Stdin, j.cmd.Stdout, j.cmd.Stderr = strings.NewReader(stdin), &j.stdout, &j.stderr
	started := time.Now()
	if err := j.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting a job: %w", err)
	}
	go func() {
		defer close(j.done)
		j.err = j.cmd.Wait()
		j.took = time.Since(started)
	}()
	return j, nil
}

// refreshJob starts a job that wants a token and reports in JSON.
func (d *demonstration) refreshJob(ctx context.Context, more ...string) (*job, error) {
	return d.start(ctx, "", append([]string{"refresh", "--json"}, more...)...)
}

// wait waits for the job's end and reads its report, if it made one.
func (j *job) wait() error {
	<-j.done
	if exit := (*exec.ExitError)(nil); j.err != nil && !errors.As(j.err, &exit) {
		return fmt.Errorf("waiting for a job: %w", j.err)
	}
	j.code = j.cmd.ProcessState.ExitCode()
	if j.stdout.Len() > 0 {
		if err := json.Unmarshal(j.stdout.Bytes(), &j.report); err != nil {
			return fmt.Errorf("reading a job's report: %w", err)
		}
	}
	return nil
}

// kill ends the job as a runner out of memory does: at once, without a word.
func (j *job) kill() error {
	if err := j.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("killing a job: %w", err)
	}
	return j.wait()
}

// run is start and wait.
func (d *demonstration) run(ctx context.Context, stdin string, args ...string) (*job, error) {
	j, err := d.start(ctx, stdin, args...)
	if err != nil {
		return nil, err
	}
	return j, j.wait()
}

// until waits for something that the job does. It is an error if the job ends
// without it.
func (j *job) until(ctx context.Context, what string, happened func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !happened() {
		select {
		case <-j.done:
			if happened() {
				return nil
			}
			return fmt.Errorf("a job ended with code %d before %s", j.cmd.ProcessState.ExitCode(), what)
		case <-ctx.Done():
			return fmt.Errorf("%s did not come in time", what)
		case <-tick.C:
		}
	}
	return nil
}
