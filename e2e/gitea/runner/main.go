// Command runner takes jobs from a Gitea or Forgejo by the protocol of its
// runners, and has act run them on this machine, one at a time. It is what the
// end-to-end tests have in place of the forge's own runner.
//
// It reads one JSON object, a config, from standard input, tells what it does in
// JSON lines on standard output, and ends when standard input does. No secret is
// in an argument or a URL: act reads them from a file, and git from its
// environment.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	v1 "code.gitea.io/actions-proto-go/runner/v1"
	"code.gitea.io/actions-proto-go/runner/v1/runnerv1connect"
	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// config says where the forge is and how jobs run.
type config struct {
	Forge        string // base address, without a slash at the end
	Registration string // token that makes this a runner
	Name         string
	Act          string            // path of the program
	Folder       string            // each task gets one of its own in it
	Path         string            // PATH of the jobs
	Actions      map[string]string // folders by the names of the actions in them
	Env          map[string]string // of each job; {task} is the task's folder
}

// event is one line of output.
type event struct {
	Event  string // registered, begun, ended
	Task   int64  `json:",omitempty"`
	Run    string `json:",omitempty"` // id of the workflow run
	Name   string `json:",omitempty"` // of the event that started it
	Folder string `json:",omitempty"`
	Token  string `json:",omitempty"` // the job's, for whoever searches for it
	OK     bool   `json:",omitempty"`
	Lines  int    `json:",omitempty"` // of the log
}

// labels are the machines that this runner stands for.
func labels() []string { return []string{"ubuntu-latest"} }

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "runner:", err)
		os.Exit(1)
	}
}

func run() error {
	var c config
	in := json.NewDecoder(bufio.NewReader(os.Stdin))
	if err := in.Decode(&c); err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // until whoever started this goes
		cancel()
	}()
	r := &runner{config: c, out: json.NewEncoder(os.Stdout)}
	r.client = runnerv1connect.NewRunnerServiceClient(http.DefaultClient, c.Forge+"/api/actions", connect.WithInterceptors(connect.UnaryInterceptorFunc(r.sign)))
	err := r.work(ctx)
	if errors.Is(err, context.Canceled) || ctx.Err() != nil {
		return nil
	}
	return err
}

type runner struct {
	config
	client      runnerv1connect.RunnerServiceClient
	out         *json.Encoder
	uuid, token string // who this runner is, once it is registered
}

// sign adds to a request who asks.
func (r *runner) sign(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, ask connect.AnyRequest) (connect.AnyResponse, error) {
		if r.uuid != "" {
			ask.Header().Set("x-runner-uuid", r.uuid)
			ask.Header().Set("x-runner-token", r.token)
		}
		return next(ctx, ask)
	}
}

// pause lies between two questions for work.
const pause = 200 * time.Millisecond

// work registers and takes tasks until ctx ends.
func (r *runner) work(ctx context.Context) error {
	mine, err := r.client.Register(ctx, connect.NewRequest(&v1.RegisterRequest{Name: r.Name, Token: r.Registration, Version: "0", Labels: labels()}))
	if err != nil {
		return fmt.Errorf("registering: %w", err)
	}
	r.uuid, r.token = mine.Msg.Runner.Uuid, mine.Msg.Runner.Token
	if _, err := r.client.Declare(ctx, connect.NewRequest(&v1.DeclareRequest{Version: "0", Labels: labels()})); err != nil {
		return fmt.Errorf("declaring: %w", err)
	}
	if err := r.out.Encode(event{Event: "registered"}); err != nil {
		return err
	}
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		// Version 0 is never the forge's, so that it always looks for work.
		got, err := r.client.FetchTask(ctx, connect.NewRequest(&v1.FetchTaskRequest{}))
		switch {
		case err != nil && ctx.Err() != nil:
			return ctx.Err()
		case err == nil && got.Msg.Task != nil:
			if err := r.task(ctx, got.Msg.Task); err != nil {
				return err
			}
			continue
		}
		// A forge that is busy is asked again.
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// task runs one job, and tells the forge its log and its end.
func (r *runner) task(ctx context.Context, t *v1.Task) error {
	j, err := r.lay(t)
	if err != nil {
		return fmt.Errorf("task %d: %w", t.Id, err)
	}
	begun := event{Event: "begun", Task: t.Id, Run: j.text("run_id"), Name: j.text("event_name"), Folder: j.folder, Token: j.text("token")}
	if err := r.out.Encode(begun); err != nil {
		return err
	}
	state := &v1.TaskState{Id: t.Id, StartedAt: timestamppb.Now()}
	if _, err := r.client.UpdateTask(ctx, connect.NewRequest(&v1.UpdateTaskRequest{State: state})); err != nil {
		return fmt.Errorf("task %d: telling that it runs: %w", t.Id, err)
	}
	l := &upload{client: r.client, task: t.Id}
	ok := j.run(ctx, l.line) == nil
	l.line("the job ended, " + map[bool]string{true: "well", false: "not well"}[ok])
	if err := l.end(ctx); err != nil {
		return fmt.Errorf("task %d: %w", t.Id, err)
	}
	state.StoppedAt, state.Result = timestamppb.Now(), v1.Result_RESULT_FAILURE
	if ok {
		state.Result = v1.Result_RESULT_SUCCESS
	}
	if _, err := r.client.UpdateTask(ctx, connect.NewRequest(&v1.UpdateTaskRequest{State: state})); err != nil {
		return fmt.Errorf("task %d: telling its end: %w", t.Id, err)
	}
	return r.out.Encode(event{Event: "ended", Task: t.Id, Run: begun.Run, OK: ok, Lines: l.count})
}

// upload sends a job's log when the job has ended.
type upload struct {
	client runnerv1connect.RunnerServiceClient
	task   int64
	rows   []*v1.LogRow
	count  int
}

func (u *upload) line(text string) {
	u.rows = append(u.rows, &v1.LogRow{Time: timestamppb.Now(), Content: text})
	u.count++
}

func (u *upload) end(ctx context.Context) error {
	got, err := u.client.UpdateLog(ctx, connect.NewRequest(&v1.UpdateLogRequest{TaskId: u.task, Rows: u.rows, NoMore: true}))
	switch {
	case err != nil:
		return fmt.Errorf("sending the log: %w", err)
	case got.Msg.AckIndex != int64(u.count):
		return fmt.Errorf("the forge took %d of %d lines of the log", got.Msg.AckIndex, u.count)
	}
	return nil
}
