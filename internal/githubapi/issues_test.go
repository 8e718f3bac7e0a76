package githubapi_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"evergrant/internal/githubapi"
	"evergrant/internal/githubapi/double"
	"evergrant/internal/grant"
	"evergrant/internal/oauth"
)

func issueClient(t *testing.T, api, token string) *githubapi.Client {
	t.Helper()
	c, err := githubapi.New(githubapi.Config{API: api, Token: grant.NewSecret(token), Transport: oauth.NewTransport(oauth.DiscoverConfig{UserAgent: "evergrant/test"})})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestParseRepository(t *testing.T) {
	t.Parallel()
	for in, ok := range map[string]bool{
		"acme/widgets": true, "a_b-c/d.e_f": true, "": false, "acme": false, "acme/": false, "/x": false, "a/b/c": false, "a/..": false,
		"a/b?c": false, "a b/c": false, "canary/" + strings.Repeat("x", 300): false,
	} {
		r, err := githubapi.ParseRepository(in)
		if (err == nil) != ok || ok && r.String() != in || err != nil && strings.Contains(err.Error(), "canary") {
			t.Errorf("%q: %v, %v", in, r, err)
		}
	}
}

// TestIssueCalls: what is written is what is there, and every exchange is one that
// GitHub describes.
func TestIssueCalls(t *testing.T) {
	t.Parallel()
	g, err := double.New(double.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.Close() })
	if err := g.AddRepository("acme/widgets"); err != nil {
		t.Fatal(err)
	}
	g.AllowIssues("canary-token", true)
	c := issueClient(t, g.URL, "canary-token")
	in, err := githubapi.ParseRepository("acme/widgets")
	if err != nil {
		t.Fatal(err)
	}
	g.Write(double.Issue{Title: "of a stranger", Open: true, Author: "User", Association: "CONTRIBUTOR"})
	g.Write(double.Issue{Title: "of a member", Open: false, Author: "User", Association: "MEMBER", Labels: []string{"x"}})
	made, err := c.OpenIssue(t.Context(), in, "title", "body <!-- x -->", "x", "y")
	if err != nil || made.Number != 3 || !made.Open || !made.Ours || strings.Join(made.Labels, " ") != "x y" {
		t.Fatalf("%+v, %v", made, err)
	}
	made.Title, made.Open = "changed", false
	if made, err = c.EditIssue(t.Context(), in, made, githubapi.NotPlanned); err != nil || made.Open || made.Title != "changed" || made.Body != "body <!-- x -->" {
		t.Fatalf("%+v, %v", made, err)
	}
	if err := c.Comment(t.Context(), in, 3, "hello"); err != nil {
		t.Fatal(err)
	}
	if err := c.Label(t.Context(), in, 3, "z"); err != nil {
		t.Fatal(err)
	}
	there := g.Issues()[2]
	if there.Reason != "not_planned" || there.Comments[0] != "hello" || strings.Join(there.Labels, " ") != "x y z" {
		t.Errorf("%+v", there)
	}
	all, err := c.Issues(t.Context(), in, "")
	if err != nil || len(all) != 3 || all[0].Number != 3 || all[2].Ours || !all[1].Ours {
		t.Errorf("%+v, %v", all, err)
	}
	if all, err = c.Issues(t.Context(), in, "x"); err != nil || len(all) != 2 {
		t.Errorf("%+v, %v", all, err)
	}
	if err := c.Comment(t.Context(), in, 9, "hello"); err == nil || !strings.Contains(err.Error(), "HTTP 404") {
		t.Error(err)
	}
	for _, v := range g.Violations() {
		t.Error(v)
	}
}

// TestIssueAnswers: pull requests are no issues, and what is no answer of the API is
// taken for none.
func TestIssueAnswers(t *testing.T) {
	t.Parallel()
	answer := ""
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(answer)) }))
	t.Cleanup(s.Close)
	c := issueClient(t, s.URL, "canary-token")
	in := githubapi.Repository{Owner: "acme", Name: "widgets"}
	answer = `[{"number":1,"state":"open","pull_request":{}},{"number":2,"state":"closed","body":null,"user":null}]`
	if all, err := c.Issues(t.Context(), in, ""); err != nil || len(all) != 1 || all[0].Number != 2 || all[0].Ours {
		t.Errorf("%+v, %v", all, err)
	}
	for _, answer = range []string{"<html>", "{}", "[1]", ""} {
		if _, err := c.Issues(t.Context(), in, ""); err == nil {
			t.Errorf("%q was taken for a list", answer)
		}
		if _, err := c.OpenIssue(t.Context(), in, "a", "b"); err == nil {
			t.Errorf("%q was taken for an issue", answer)
		}
	}
}
