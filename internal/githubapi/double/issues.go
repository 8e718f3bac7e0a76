package double

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Issue is one of a repository's, as a test looks at it.
type Issue struct {
	Number      int
	Title, Body string
	Open        bool
	Reason      string // why it was closed
	Labels      []string
	Comments    []string

	Association string // of its author: "NONE", "OWNER", …
	Author      string // "Bot" or "User"
	created     time.Time
}

// AllowIssues says that the token may read a repository's issues and, with write,
// change them. It says nothing of secrets.
func (s *Server) AllowIssues(token string, write bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.issuers[token] = write
}

// DropLabels makes GitHub leave out the labels of new issues, as it does without a
// word where the token may not set them.
func (s *Server) DropLabels() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unlabelled = true
}

// NoIssues switches issues off.
func (s *Server) NoIssues() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noIssues = true
}

// Issues are those of the one repository that has any, by number.
func (s *Server) Issues() []Issue {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Issue, len(s.issues))
	for i, one := range s.issues {
		all[i] = *one
		all[i].Labels, all[i].Comments = slices.Clone(one.Labels), slices.Clone(one.Comments)
	}
	return all
}

// Write makes an issue, or changes one by its number, as a person does.
func (s *Server) Write(i Issue) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i.Number == 0 {
		i.Number, i.created = len(s.issues)+1, s.clock()
		s.issues = append(s.issues, &i)
		return
	}
	i.created = s.issues[i.Number-1].created
	s.issues[i.Number-1] = &i
}

// actOnIssues does what a request asks for, if its token may. rest is what stands
// behind /issues. The caller holds mu.
func (s *Server) actOnIssues(w http.ResponseWriter, r *http.Request, repository, rest string, body []byte) {
	write, known := s.issuers[tokenOf(r)]
	number, sub, _ := strings.Cut(strings.Trim(rest, "/"), "/")
	switch {
	case !known:
		refuse(w, http.StatusUnauthorized, "Bad credentials")
	case s.renamed[repository]:
		w.Header().Set("Location", s.URL+"/repositories/1/issues")
		refuse(w, http.StatusMovedPermanently, "Moved Permanently")
	case s.places[repository] == nil:
		refuse(w, http.StatusNotFound, "Not Found")
	case r.Method != http.MethodGet && !write:
		w.Header().Set("X-Accepted-GitHub-Permissions", "issues=write")
		refuse(w, http.StatusForbidden, "Resource not accessible by integration")
	case s.noIssues && r.Method != http.MethodGet:
		refuse(w, http.StatusGone, "Issues are disabled for this repo")
	case number == "" && r.Method == http.MethodGet:
		reply(w, http.StatusOK, s.listIssues(r))
	case number == "":
		s.openIssue(w, body)
	default:
		n, err := strconv.Atoi(number)
		if err != nil || n < 1 || n > len(s.issues) {
			refuse(w, http.StatusNotFound, "Not Found")
			return
		}
		s.changeIssue(w, s.issues[n-1], sub, body)
	}
}

// listIssues answers the newest first. The caller holds mu.
func (s *Server) listIssues(r *http.Request) []any {
	q, all := r.URL.Query(), []any{}
	most, err := strconv.Atoi(q.Get("per_page"))
	if err != nil {
		most = 30
	}
	for _, i := range slices.Backward(s.issues) {
		state := q.Get("state")
		if (state == "open" || state == "") && !i.Open || state == "closed" && i.Open || len(all) == most {
			continue
		}
		if l := q.Get("labels"); l == "" || slices.Contains(i.Labels, l) {
			all = append(all, s.describeIssue(i))
		}
	}
	return all
}

func (s *Server) openIssue(w http.ResponseWriter, body []byte) {
	var sent struct {
		Title  string   `json:"title"`
		Body   string   `json:"body"`
		Labels []string `json:"labels"`
	}
	if json.Unmarshal(body, &sent) != nil || sent.Title == "" {
		refuse(w, http.StatusUnprocessableEntity, "Validation Failed")
		return
	}
	if s.unlabelled {
		sent.Labels = nil
	}
	i := &Issue{Number: len(s.issues) + 1, Title: sent.Title, Body: sent.Body, Open: true, Labels: sent.Labels,
		Association: "NONE", Author: "Bot", created: s.clock()}
	s.issues = append(s.issues, i)
	reply(w, http.StatusCreated, s.describeIssue(i))
}

func (s *Server) changeIssue(w http.ResponseWriter, i *Issue, sub string, body []byte) {
	var sent struct {
		Title  *string  `json:"title"`
		Body   *string  `json:"body"`
		State  string   `json:"state"`
		Reason string   `json:"state_reason"`
		Labels []string `json:"labels"`
	}
	if json.Unmarshal(body, &sent) != nil {
		refuse(w, http.StatusBadRequest, "Problems parsing JSON")
		return
	}
	switch sub {
	case "":
		if sent.Title != nil {
			i.Title = *sent.Title
		}
		if sent.Body != nil {
			i.Body = *sent.Body
		}
		if sent.State != "" {
			i.Open, i.Reason = sent.State == "open", sent.Reason
		}
		reply(w, http.StatusOK, s.describeIssue(i))
	case "comments":
		i.Comments = append(i.Comments, *sent.Body)
		reply(w, http.StatusCreated, s.describeComment(i))
	case "labels":
		i.Labels = append(i.Labels, sent.Labels...)
		reply(w, http.StatusOK, labelsOf(i))
	default:
		refuse(w, http.StatusNotFound, "Not Found")
	}
}

func (s *Server) describeIssue(i *Issue) map[string]any {
	at := s.URL + "/repos/acme/widgets/issues/" + strconv.Itoa(i.Number)
	state, closed, reason := "open", any(nil), any(nil)
	if !i.Open {
		state, closed, reason = "closed", i.created.Format(time.RFC3339), "completed"
		if i.Reason != "" {
			reason = i.Reason
		}
	}
	return map[string]any{
		"id": i.Number, "node_id": "I_1", "number": i.Number, "title": i.Title, "body": i.Body, "state": state, "state_reason": reason,
		"url": at, "html_url": at, "repository_url": s.URL + "/repos/acme/widgets", "labels_url": at + "/labels{/name}",
		"comments_url": at + "/comments", "events_url": at + "/events", "comments": len(i.Comments), "labels": labelsOf(i),
		"assignee": nil, "milestone": nil, "locked": false, "closed_at": closed,
		"created_at": i.created.Format(time.RFC3339), "updated_at": i.created.Format(time.RFC3339),
		"author_association": i.Association, "user": s.author(i.Author),
	}
}

func labelsOf(i *Issue) []any {
	all := []any{}
	for n, name := range i.Labels {
		all = append(all, map[string]any{"id": n, "node_id": "L_1", "url": "https://github.example/labels/" + strconv.Itoa(n),
			"name": name, "description": nil, "color": "ededed", "default": false})
	}
	return all
}

func (s *Server) author(kind string) map[string]any {
	login := "github-actions[bot]"
	if kind != "Bot" {
		login = "somebody"
	}
	u := map[string]any{"login": login, "id": 1, "node_id": "U_1", "gravatar_id": "", "type": kind, "site_admin": false}
	for _, name := range []string{"avatar_url", "url", "html_url", "followers_url", "following_url", "gists_url", "starred_url",
		"subscriptions_url", "organizations_url", "repos_url", "events_url", "received_events_url"} {
		u[name] = s.URL + "/users/1"
	}
	return u
}

func (s *Server) describeComment(i *Issue) map[string]any {
	at := s.URL + "/repos/acme/widgets/issues/comments/1"
	return map[string]any{"id": 1, "node_id": "C_1", "url": at, "html_url": at, "issue_url": at, "body": i.Comments[len(i.Comments)-1],
		"user": s.author("Bot"), "created_at": s.clock().Format(time.RFC3339), "updated_at": s.clock().Format(time.RFC3339), "author_association": "NONE"}
}
