package handover_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"evergrant/internal/grant"
	"evergrant/internal/handover"
)

var token = grant.AccessToken{Value: grant.NewSecret(`canary-"\x`), Type: "Bearer", Generation: 4, Expiry: time.Unix(1767323045, 0)}

func TestGit(t *testing.T) {
	t.Parallel()
	q, err := handover.ReadGit(strings.NewReader("protocol=https\nhost=forge.example:8443\npath=a/b.git\nwwwauth[]=Basic\nusername=u\npassword=p=q\n\nnever=read"))
	if err != nil || q.Protocol != "https" || q.Host != "forge.example:8443" || q.Path != "a/b.git" || q.Username != "u" || q.Password.Reveal() != "p=q" {
		t.Errorf("%+v, %v", q, err)
	}
	for _, bad := range []string{"nonsense\n", "=", strings.Repeat("x", 100_000)} {
		if _, err := handover.ReadGit(strings.NewReader(bad)); err == nil && bad != "=" {
			t.Errorf("%.10q is taken for attributes", bad)
		}
	}
	var out bytes.Buffer
	if err := handover.WriteGit(&out, "oauth2", token); err != nil || out.String() != "username=oauth2\npassword=canary-\"\\x\npassword_expiry_utc=1767323045\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
}

func TestKubernetes(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := handover.WriteKubernetes(&out, "client.authentication.k8s.io/v1", token); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Kind, APIVersion string
		Status           struct{ ExpirationTimestamp, Token string }
	}
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Kind != "ExecCredential" || got.APIVersion != "client.authentication.k8s.io/v1" || got.Status.Token != token.Value.Reveal() || got.Status.ExpirationTimestamp != "2026-01-02T03:04:05Z" {
		t.Errorf("kind %s, version %s, ends %s", got.Kind, got.APIVersion, got.Status.ExpirationTimestamp)
	}
	for info, want := range map[string]string{
		"": "client.authentication.k8s.io/v1",
		`{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential"}`: "client.authentication.k8s.io/v1",
		`{"apiVersion":"client.authentication.k8s.io/v1beta1"}`:                    "client.authentication.k8s.io/v1beta1",
		`{"apiVersion":"client.authentication.k8s.io/v1alpha1"}`:                   "",
		`{`: "", `[]`: "",
	} {
		if version, err := handover.KubernetesVersion(info); version != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v", info, version, err)
		}
	}
}

func TestDocker(t *testing.T) {
	t.Parallel()
	if s, err := handover.ReadDocker(strings.NewReader("https://registry.example\n")); err != nil || s != "https://registry.example" {
		t.Errorf("%q, %v", s, err)
	}
	for _, bad := range []string{"", "\n", "a\nb"} {
		if _, err := handover.ReadDocker(strings.NewReader(bad)); err == nil {
			t.Errorf("%q is taken for a registry", bad)
		}
	}
	var out bytes.Buffer
	if err := handover.WriteDocker(&out, "r", "u", token); err != nil {
		t.Fatal(err)
	}
	var got map[string]string
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || len(got) != 3 || got["ServerURL"] != "r" || got["Username"] != "u" || got["Secret"] != token.Value.Reveal() {
		t.Errorf("%d members, %v", len(got), err)
	}
}

func TestCurl(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := handover.WriteCurl(&out, token); err != nil || out.String() != `header = "Authorization: Bearer canary-\"\\x"`+"\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
}

// TestUndeliverable: a token with a line break could add a line to any of them.
func TestUndeliverable(t *testing.T) {
	t.Parallel()
	bad := token
	bad.Value = grant.NewSecret("a\nusername=b")
	var out bytes.Buffer
	for name, err := range map[string]error{
		"git": handover.WriteGit(&out, "u", bad), "kubernetes": handover.WriteKubernetes(&out, "v", bad),
		"docker": handover.WriteDocker(&out, "r", "u", bad), "curl": handover.WriteCurl(&out, bad),
	} {
		if err == nil {
			t.Errorf("%s handed out a token with a line break", name)
		}
	}
	if out.Len() != 0 {
		t.Error("something was written")
	}
}

func FuzzReadGit(f *testing.F) {
	f.Add([]byte("protocol=https\nhost=h\n\n"))
	f.Add([]byte("password==\n"))
	f.Add([]byte("\x00=\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		q, err := handover.ReadGit(bytes.NewReader(b))
		if err == nil && strings.ContainsAny(q.Host+q.Path+q.Protocol, "\n") {
			t.Error("an attribute with a line break")
		}
	})
}
