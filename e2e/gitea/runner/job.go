package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	v1 "code.gitea.io/actions-proto-go/runner/v1"
)

// job is one task laid out on the disk.
type job struct {
	*runner
	context map[string]any // the forge's github context
	folder  string         // of this task; what the job leaves is in it
	private string         // what the job does not see: its event and its secrets
}

// text is a member of the context that is a string.
func (j *job) text(name string) string {
	s, _ := j.context[name].(string) // absent: empty
	return s
}

// lay writes what act reads.
func (r *runner) lay(t *v1.Task) (*job, error) {
	j := &job{runner: r, context: t.Context.AsMap(), folder: filepath.Join(r.Folder, "task-"+strconv.FormatInt(t.Id, 10))}
	j.private = j.folder + ".private"
	for _, dir := range []string{j.private, filepath.Join(j.folder, "home"), filepath.Join(j.folder, "tmp"), filepath.Join(j.folder, "left"),
		filepath.Join(j.folder, "reports"), filepath.Join(j.folder, "act"), filepath.Join(j.folder, "work")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	}
	payload, err := json.Marshal(j.context["event"])
	if err != nil {
		return nil, fmt.Errorf("writing the event: %w", err)
	}
	for name, text := range map[string][]byte{"event.json": payload, "workflow.yml": t.WorkflowPayload, "secrets": dotenv(t.Secrets), "vars": dotenv(t.Vars)} {
		if err := os.WriteFile(filepath.Join(j.private, name), text, 0o600); err != nil {
			return nil, err
		}
	}
	return j, nil
}

// dotenv writes variables as act reads them; a value may have several lines.
func dotenv(values map[string]string) []byte {
	var b strings.Builder
	for name, value := range values {
		fmt.Fprintf(&b, "%s=%q\n", name, value)
	}
	return []byte(b.String())
}

// run has act run the job; each line of its log goes to tell.
func (j *job) run(ctx context.Context, tell func(string)) error {
	if err := j.fetch(ctx); err != nil {
		tell("the repository cannot be fetched: " + err.Error())
		return err
	}
	private := func(name string) string { return filepath.Join(j.private, name) }
	args := []string{j.text("event_name"), "--eventpath", private("event.json"), "--workflows", private("workflow.yml"), "--secret-file", private("secrets"),
		"--var-file", private("vars"), "--actor", j.text("actor"), "--platform", "ubuntu-latest=-self-hosted", "--container-daemon-socket", "-",
		"--no-cache-server", "--no-skip-checkout", "--action-cache-path", filepath.Join(j.folder, "act")}
	for action, folder := range j.Actions {
		args = append(args, "--local-repository", action+"="+folder)
	}
	env := map[string]string{
		"GITHUB_SERVER_URL": strings.TrimRight(j.text("server_url"), "/"), "GITHUB_API_URL": j.text("api_url"), "GITHUB_REPOSITORY": j.text("repository"),
		"GITHUB_RUN_ID": j.text("run_id"), "GITHUB_RUN_ATTEMPT": j.text("run_attempt"), "GITEA_ACTIONS": "true",
	}
	for name, value := range j.Env {
		env[name] = strings.ReplaceAll(value, "{task}", j.folder)
	}
	for name, value := range env {
		args = append(args, "--env", name+"="+value)
	}
	cmd := exec.CommandContext(ctx, j.Act, args...)
	cmd.Dir = filepath.Join(j.folder, "work")
	cmd.Env = j.environment("NO_COLOR=1")
	log, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return err
	}
	lines := bufio.NewReader(log)
	for {
		line, err := lines.ReadString('\n')
		if line = strings.TrimRight(line, "\r\n"); line != "" {
			tell(line)
		}
		if err != nil {
			break
		}
	}
	return cmd.Wait()
}

func (j *job) environment(more ...string) []string {
	return append([]string{"PATH=" + j.Path, "HOME=" + filepath.Join(j.folder, "home"), "TMPDIR=" + filepath.Join(j.folder, "tmp"), "LC_ALL=C"}, more...)
}

// fetch puts the run's commit into the folder that act starts in.
func (j *job) fetch(ctx context.Context) error {
	origin := j.Forge + "/" + j.text("repository") + ".git"
	basic := base64.StdEncoding.EncodeToString([]byte("x:" + j.text("token")))
	for _, args := range [][]string{
		{"init", "--quiet", "--initial-branch=job"}, {"remote", "add", "origin", origin},
		{"fetch", "--quiet", "--no-tags", "--depth=1", "origin", j.text("sha")}, {"checkout", "--quiet", "-B", j.text("ref_name"), "FETCH_HEAD"},
	} {
		cmd := exec.CommandContext(ctx, "git", args...)
		cmd.Dir = filepath.Join(j.folder, "work")
		cmd.Env = j.environment("GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_TERMINAL_PROMPT=0",
			"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=http."+j.Forge+"/.extraHeader", "GIT_CONFIG_VALUE_0=Authorization: Basic "+basic)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(string(out)))
		}
	}
	return nil
}
