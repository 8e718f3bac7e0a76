// Package handover speaks the protocols by which other programs ask a helper
// program for a credential, so that they pull the access token themselves each
// time they need one.
package handover

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"evergrant/internal/grant"
)

// maxRequest bounds what a program may say, in bytes.
const maxRequest = 64 << 10

// GitRequest is what git asks for, or tells of: the attributes of git-credential.
// Source: git documentation, git-credential, "INPUT/OUTPUT FORMAT".
type GitRequest struct {
	Protocol, Host, Path, Username string
	Password                       grant.Secret // in erase, the one that was refused
}

// ReadGit reads attributes up to an empty line or the end. Attributes that mean
// nothing here are left out, as the protocol wants.
func ReadGit(r io.Reader) (GitRequest, error) {
	var q GitRequest
	s := bufio.NewScanner(io.LimitReader(r, maxRequest))
	s.Buffer(nil, maxRequest)
	for s.Scan() && s.Text() != "" {
		name, value, ok := strings.Cut(s.Text(), "=")
		if !ok {
			return q, errors.New("a line that is not name=value; git-credential's attributes are expected on standard input")
		}
		switch name {
		case "protocol":
			q.Protocol = value
		case "host":
			q.Host = value
		case "path":
			q.Path = value
		case "username":
			q.Username = value
		case "password":
			q.Password = grant.NewSecret(value)
		}
	}
	return q, s.Err()
}

// WriteGit answers get: the token is the password, as forges take it. Its end is told, so
// that git keeps it in no cache for longer.
// Source: git documentation, git-credential, password_expiry_utc (git 2.41).
func WriteGit(w io.Writer, user string, t grant.AccessToken) error {
	if err := t.Deliverable(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "username=%s\npassword=%s\npassword_expiry_utc=%d\n", user, t.Value.Reveal(), t.Expiry.Unix())
	return err
}

// WriteKubernetes answers kubectl and other programs that use client-go, in the
// version that [KubernetesVersion] has read.
// Source: Kubernetes documentation, "client-go credential plugins", ExecCredential.
func WriteKubernetes(w io.Writer, version string, t grant.AccessToken) error {
	if err := t.Deliverable(); err != nil {
		return err
	}
	type status struct {
		Expires string `json:"expirationTimestamp"`
		Token   string `json:"token"`
	}
	return json.NewEncoder(w).Encode(struct {
		Kind       string `json:"kind"`
		APIVersion string `json:"apiVersion"`
		Status     status `json:"status"`
	}{"ExecCredential", version, status{t.Expiry.UTC().Format(time.RFC3339), t.Value.Reveal()}})
}

const (
	kubernetesV1   = "client.authentication.k8s.io/v1"
	kubernetesBeta = "client.authentication.k8s.io/v1beta1" // all that kubectl before 1.22 knows
)

// KubernetesVersion reads the version of the answer from the request that kubectl
// puts into KUBERNETES_EXEC_INFO. Both versions have the members that a token
// needs; an empty info is no request, and gets v1.
func KubernetesVersion(info string) (string, error) {
	if info == "" {
		return kubernetesV1, nil
	}
	var q struct {
		APIVersion string `json:"apiVersion"`
	}
	if err := json.Unmarshal([]byte(info), &q); err != nil {
		return "", errors.New("KUBERNETES_EXEC_INFO holds no JSON object")
	}
	if q.APIVersion != kubernetesV1 && q.APIVersion != kubernetesBeta {
		return "", fmt.Errorf("the kubeconfig asks for another version of ExecCredential; write apiVersion: %s there", kubernetesV1)
	}
	return q.APIVersion, nil
}

// ReadDocker reads the registry that docker asks for.
// Source: docker/docker-credential-helpers, README, "Development".
func ReadDocker(r io.Reader) (server string, err error) {
	b, err := io.ReadAll(io.LimitReader(r, maxRequest))
	if err != nil {
		return "", err
	}
	server = strings.TrimSpace(string(b))
	if server == "" || strings.ContainsAny(server, "\n\r\x00") {
		return "", errors.New("one registry's address is expected on standard input")
	}
	return server, nil
}

// WriteDocker answers get: user and token. The user "<token>" would make docker
// take it for an identity token of its registry's own protocol.
func WriteDocker(w io.Writer, server, user string, t grant.AccessToken) error {
	if err := t.Deliverable(); err != nil {
		return err
	}
	return json.NewEncoder(w).Encode(struct{ ServerURL, Username, Secret string }{server, user, t.Value.Reveal()})
}

// WritePlain writes the token and a newline, as Claude Code's apiKeyHelper does.
func WritePlain(w io.Writer, t grant.AccessToken) error {
	if err := t.Deliverable(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "%s\n", t.Value.Reveal())
	return err
}

// WriteCurl writes a configuration for curl --config -: a header that appears on
// no command line.
// Source: curl documentation, curl(1), --config.
func WriteCurl(w io.Writer, t grant.AccessToken) error {
	if err := t.Deliverable(); err != nil {
		return err
	}
	quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(t.Value.Reveal())
	_, err := fmt.Fprintf(w, "header = \"Authorization: Bearer %s\"\n", quoted)
	return err
}
