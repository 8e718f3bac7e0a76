package githubapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// Repository names a repository; [ParseRepository] makes it.
type Repository struct{ Owner, Name string }

// ParseRepository reads OWNER/REPO. A wrong one is not repeated.
func ParseRepository(s string) (Repository, error) {
	owner, name, ok := strings.Cut(s, "/")
	if !ok || !made(owner, letters+digits+"-_") || !made(name, letters+digits+"-_.") || name == "." || name == ".." || len(s) > maxName {
		return Repository{}, errors.New("a repository is written OWNER/REPO")
	}
	return Repository{owner, name}, nil
}

func (r Repository) String() string { return r.Owner + "/" + r.Name }

func (r Repository) path() string { return "/repos/" + r.Owner + "/" + r.Name + "/issues" }

// Issue is what is read of one, and what can be changed.
type Issue struct {
	Number int
	Title  string
	Body   string
	Open   bool
	Labels []string
	// Ours: a bot wrote it, or somebody with a role in the repository. Whoever may
	// open an issue in a public repository may imitate its text.
	Ours bool
}

// Why an issue is closed (GitHub Docs, "Update an issue", state_reason).
const (
	Completed  = "completed"
	NotPlanned = "not_planned"
)

// maxIssues is how many issues one answer has at most.
const maxIssues = 100

// Issues lists the newest issues, at most a hundred, open and closed ones, with
// that label; "": whatever their labels are. Pull requests are left out.
func (c *Client) Issues(ctx context.Context, in Repository, label string) ([]Issue, error) {
	query := url.Values{"state": {"all"}, "sort": {"created"}, "direction": {"desc"}, "per_page": {strconv.Itoa(maxIssues)}}
	if label != "" {
		query.Set("labels", label)
	}
	body, err := c.send(ctx, request{method: http.MethodGet, path: in.path() + "?" + query.Encode(), about: in.secret(), issues: true})
	if err != nil {
		return nil, err
	}
	var replies []issueReply
	if err := json.Unmarshal(body, &replies); err != nil {
		return nil, errNotTheAPI
	}
	var issues []Issue
	for _, r := range replies {
		if r.Pull == nil {
			issues = append(issues, r.issue())
		}
	}
	return issues, nil
}

// OpenIssue makes one. It is sent once: GitHub does not know that two are meant to
// be one. Labels that the token may not set are left out by GitHub without a word.
func (c *Client) OpenIssue(ctx context.Context, in Repository, title, body string, labels ...string) (Issue, error) {
	return c.changeIssue(ctx, in, http.MethodPost, in.path(), map[string]any{"title": title, "body": body, "labels": labels})
}

// EditIssue writes title, body and state; why is one of the reasons to close, and
// counts only where Open is false.
func (c *Client) EditIssue(ctx context.Context, in Repository, i Issue, why string) (Issue, error) {
	change := map[string]any{"title": i.Title, "body": i.Body, "state": "open"}
	if !i.Open {
		change["state"], change["state_reason"] = "closed", why
	}
	return c.changeIssue(ctx, in, http.MethodPatch, in.numbered(i.Number), change)
}

// Comment adds a comment, once.
func (c *Client) Comment(ctx context.Context, in Repository, number int, text string) error {
	message, err := json.Marshal(map[string]string{"body": text})
	if err != nil {
		return fmt.Errorf("writing the request: %w", err)
	}
	_, err = c.send(ctx, request{method: http.MethodPost, path: in.numbered(number) + "/comments", body: message, about: in.secret(), issues: true})
	return err
}

// Label adds a label, which is made if the repository has none of that name.
func (c *Client) Label(ctx context.Context, in Repository, number int, label string) error {
	message, err := json.Marshal(map[string][]string{"labels": {label}})
	if err != nil {
		return fmt.Errorf("writing the request: %w", err)
	}
	_, err = c.send(ctx, request{method: http.MethodPost, path: in.numbered(number) + "/labels", body: message, about: in.secret(), issues: true})
	return err
}

func (c *Client) changeIssue(ctx context.Context, in Repository, method, path string, change map[string]any) (Issue, error) {
	message, err := json.Marshal(change)
	if err != nil {
		return Issue{}, fmt.Errorf("writing the request: %w", err)
	}
	body, err := c.send(ctx, request{method: method, path: path, body: message, about: in.secret(), issues: true})
	if err != nil {
		return Issue{}, err
	}
	var reply issueReply
	if err := json.Unmarshal(body, &reply); err != nil || reply.Number == 0 {
		return Issue{}, errNotTheAPI
	}
	return reply.issue(), nil
}

func (r Repository) numbered(n int) string { return r.path() + "/" + strconv.Itoa(n) }

// secret is the repository as errors name it.
func (r Repository) secret() Secret { return Secret{Owner: r.Owner, Repo: r.Name} }

type issueReply struct {
	Number      int    `json:"number"`
	Title       string `json:"title"`
	Body        string `json:"body"`
	State       string `json:"state"`
	Association string `json:"author_association"`
	Author      struct {
		Type string `json:"type"`
	} `json:"user"`
	Labels []struct {
		Name string `json:"name"`
	} `json:"labels"`
	Pull *struct{} `json:"pull_request"`
}

func (r issueReply) issue() Issue {
	i := Issue{Number: r.Number, Title: r.Title, Body: r.Body, Open: r.State == "open"}
	switch r.Association {
	case "OWNER", "MEMBER", "COLLABORATOR":
		i.Ours = true
	}
	i.Ours = i.Ours || r.Author.Type == "Bot"
	for _, l := range r.Labels {
		i.Labels = append(i.Labels, l.Name)
	}
	return i
}
