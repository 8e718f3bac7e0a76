package double_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"evergrant/internal/githubapi/double"
)

// TestRulesHaveTeeth: what GitHub's description or documentation forbids is
// noticed, in both directions.
func TestRulesHaveTeeth(t *testing.T) {
	t.Parallel()
	const at = "/repos/acme/widgets/actions/secrets/"
	for name, tt := range map[string]struct {
		method, path, body string
		header             map[string]string
		fault              *double.Fault
		violation          string // "": none
	}{
		"right":                 {method: "GET", path: at + "public-key"},
		"no value":              {method: "PUT", path: at + "T", body: `{"key_id":"1"}`, violation: "encrypted_value"},
		"no base64":             {method: "PUT", path: at + "T", body: `{"encrypted_value":"not base64!","key_id":"1"}`, violation: "encrypted_value"},
		"a number for a text":   {method: "PUT", path: at + "T", body: `{"encrypted_value":"AAAA","key_id":1}`, violation: "key_id"},
		"no JSON":               {method: "PUT", path: at + "T", body: `{`, violation: "body"},
		"an unknown path":       {method: "GET", path: "/repos/acme/widgets/secrets", violation: "not in GitHub's description"},
		"an unknown method":     {method: "POST", path: at + "T", body: `{}`, violation: "not in GitHub's description"},
		"no user agent":         {method: "GET", path: at + "public-key", header: map[string]string{"User-Agent": ""}, violation: "user agent"},
		"no Accept":             {method: "GET", path: at + "public-key", header: map[string]string{"Accept": "*/*"}, violation: "Accept"},
		"an answer of no shape": {method: "GET", path: at + "public-key", fault: &double.Fault{Status: 200, Message: "x"}, violation: "key_id"},
		"a status of no use":    {method: "GET", path: at + "public-key", fault: &double.Fault{Status: 206, Message: "x"}, violation: "status is not supported"},
		"a refusal":             {method: "GET", path: at + "public-key", fault: &double.Fault{Status: 500, Message: "x"}},
	} {
		s, err := double.New(double.Config{})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.AddRepository("acme/widgets"); err != nil {
			t.Fatal(err)
		}
		s.Allow("canary", double.Write)
		if tt.fault != nil {
			s.Fail(*tt.fault)
		}
		r, err := http.NewRequestWithContext(t.Context(), tt.method, s.URL+tt.path, strings.NewReader(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range map[string]string{"Authorization": "Bearer canary", "User-Agent": "test", "Accept": "application/vnd.github+json", "Content-Type": "application/json"} {
			r.Header.Set(name, value)
		}
		for name, value := range tt.header {
			r.Header.Set(name, value)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		got := strings.Join(s.Violations(), "; ")
		if (got != "") != (tt.violation != "") || !strings.Contains(got, tt.violation) {
			t.Errorf("%s: violations %q, want %q", name, got, tt.violation)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}
