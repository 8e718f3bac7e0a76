package git

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"evergrant/internal/grant"
)

// Repository is what the environment of a CI system says of the repository
// that a job runs for. It is never read from the job's checkout: whoever wrote
// the checked-out commit, a pull request's author too, may write there.
type Repository struct {
	Remote     Remote
	Public     bool // known to be readable by everybody
	Credential Credential
}

// Credential is sent as HTTP Basic authentication (RFC 7617).
type Credential struct {
	User     string
	Password grant.Secret
}

// maxEvent bounds the event payload that is read, in bytes. GitHub's end at 25
// MB (GitHub Docs, "Webhook events and payloads"); what is wanted is small, but may come late.
const maxEvent = 32 << 20

// FromCI reads the variables of GitHub Actions, which Gitea and Forgejo set as
// well, and of GitLab CI. The zero Repository: this is no job of one of them.
// Sources: GitHub Docs, "Default environment variables"; GitLab Docs,
// "Predefined CI/CD variables reference".
func FromCI(get func(name string) string) (Repository, error) {
	switch {
	case get("GITHUB_SERVER_URL") != "" && get("GITHUB_REPOSITORY") != "":
		remote, err := ciRemote("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", get)
		if err != nil {
			return Repository{}, err
		}
		public, err := publicByEvent(get("GITHUB_EVENT_PATH"), get("GITHUB_REPOSITORY"))
		if err != nil {
			return Repository{}, err
		}
		return Repository{remote, public, Credential{"x-access-token", grant.NewSecret(get("GITHUB_TOKEN"))}}, nil
	case get("CI_SERVER_URL") != "" && get("CI_PROJECT_PATH") != "":
		remote, err := ciRemote("CI_SERVER_URL", "CI_PROJECT_PATH", get)
		if err != nil {
			return Repository{}, err
		}
		return Repository{remote, get("CI_PROJECT_VISIBILITY") == "public",
			Credential{"gitlab-ci-token", grant.NewSecret(get("CI_JOB_TOKEN"))}}, nil
	}
	return Repository{}, nil
}

// ciRemote does not repeat a value that it refuses: a runner was seen to put a
// whole URL with a token in it into GITHUB_REPOSITORY.
func ciRemote(server, repository string, get func(string) string) (Remote, error) {
	path := get(repository)
	if !regexp.MustCompile(`^[\w.-]+(/[\w.-]+)+$`).MatchString(path) {
		return Remote{}, fmt.Errorf("%s is not of the form OWNER/NAME (it is not repeated here)", repository)
	}
	base := strings.TrimRight(get(server), "/")
	remote, err := ParseRemote(base + "/" + path + ".git")
	if err != nil || !remote.TakesToken() {
		return Remote{}, fmt.Errorf("%s is not the https URL of a forge (it is not repeated here)", server)
	}
	return remote, nil
}

// publicByEvent asks the payload of the event that started a workflow. No
// file, or one about another repository, says nothing.
func publicByEvent(path, repository string) (bool, error) {
	if path == "" {
		return false, nil
	}
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("GITHUB_EVENT_PATH cannot be read, so whether the repository is public is unknown: %w", err)
	}
	defer f.Close()
	var event struct {
		Repository struct {
			FullName string `json:"full_name"`
			Private  *bool  `json:"private"`
		} `json:"repository"`
	}
	// A payload that is no JSON says nothing.
	if err := json.NewDecoder(io.LimitReader(f, maxEvent)).Decode(&event); err != nil {
		return false, nil
	}
	r := event.Repository
	return strings.EqualFold(r.FullName, repository) && r.Private != nil && !*r.Private, nil
}

// CredentialFor returns what may be sent to a remote: the job's own token goes
// to the job's own forge and nowhere else.
func (r Repository) CredentialFor(remote Remote) Credential {
	if !remote.TakesToken() || r.Remote.IsZero() || remote.origin() != r.Remote.origin() || r.Credential.Password.IsZero() {
		return Credential{}
	}
	return r.Credential
}

// ParseCredential reads TOKEN or USER:TOKEN.
func ParseCredential(s grant.Secret) (Credential, error) {
	text := s.Reveal()
	for _, b := range []byte(text) {
		if b <= ' ' || b > 0x7e {
			return Credential{}, errors.New("the git token holds a space, a line break or a character that no token has")
		}
	}
	if user, token, ok := strings.Cut(text, ":"); ok {
		return Credential{user, grant.NewSecret(token)}, nil
	}
	return Credential{"x-access-token", s}, nil
}
