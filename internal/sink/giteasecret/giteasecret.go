// Package giteasecret is the sink that puts the access token into an Actions
// secret of a Gitea or Forgejo repository, for workflows that only read it.
//
// The forge takes the value as it is, over TLS: there is no key to seal it to.
// Source: Gitea's API, "Create or Update a secret value in a repository"
// (updateRepoSecret in its OpenAPI description); the end-to-end tests run it
// against Gitea 1.26.0. Forgejo describes the same call; nobody has tried it there.
package giteasecret

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"evergrant/internal/again"
	"evergrant/internal/grant"
)

// Patience is how long one delivery is repeated by default while the forge does not
// take it: a refresh may have ended the token that the secret holds. It puts the
// same value, so that nothing is lost by doing it twice. What cannot be delivered
// for so long is reported, and the next run delivers it.
const Patience = 2 * time.Minute

// pauses are those between two tries.
func pauses() again.Pauses {
	return again.Pauses{First: 500 * time.Millisecond, Longest: 10 * time.Second}
}

const (
	// maxValue is the longest value of a secret, in bytes (SecretDataMaxLength in
	// Gitea's models/secret).
	maxValue = 65_536
	// maxReply bounds the answers that are read, in bytes.
	maxReply = 1 << 20
)

// Access is who writes, and by what way. Token and Transport are required.
type Access struct {
	Token grant.Secret
	// Transport makes one exchange for each request; it must not follow
	// redirects, which would carry the token along, and must bound time and size.
	Transport http.RoundTripper
	Patience  time.Duration // 0: [Patience]
}

// Sink writes one secret. It is safe for concurrent use.
type Sink struct {
	secret Secret
	api    string
	access Access
}

// Open checks the address of the forge's API and the token, and sends nothing.
// Its errors are one line for a user.
func Open(secret Secret, api string, access Access) (*Sink, error) {
	base, err := ParseAPI(api)
	switch {
	case err != nil:
		return nil, err
	case access.Token.IsZero():
		return nil, errors.New("there is no token for the forge")
	case access.Transport == nil:
		return nil, errors.New("there is no transport")
	}
	for _, b := range []byte(access.Token.Reveal()) {
		if b <= ' ' || b > '~' {
			return nil, errors.New("the forge's token holds a space, a line break or a character that no token has")
		}
	}
	if access.Patience == 0 {
		access.Patience = Patience
	}
	return &Sink{secret: secret, api: base, access: access}, nil
}

// Check implements [grant.Checker]. Gitea lists secrets to whoever may write them,
// but a token whose scope is to read is found out by the delivery.
func (s *Sink) Check(ctx context.Context) error {
	status, body, err := s.send(ctx, http.MethodGet, "?limit=1", nil)
	if err == nil {
		err = s.refusal(status, http.StatusOK)
	}
	switch {
	case err != nil && lasting(err):
		return err
	case err != nil:
		return fmt.Errorf("%w: %w", grant.ErrUnasked, err)
	}
	var list []json.RawMessage
	if json.Unmarshal(body, &list) != nil {
		return errNotTheAPI
	}
	return nil
}

// errNotTheAPI: a success that Gitea's API does not give.
var errNotTheAPI = errors.New("the answer is not one of Gitea's API; is its address right?")

// lasting reports an answer after which somebody has to mend something.
func lasting(err error) bool {
	var refusal *Error
	return errors.Is(err, errNotTheAPI) || errors.As(err, &refusal) && refusal.Lasting()
}

// Deliver replaces the secret's value by exactly the token, and tries for as long
// as its patience and ctx allow while that may help. Jobs that start later get it.
func (s *Sink) Deliver(ctx context.Context, t grant.AccessToken) error {
	if err := t.Deliverable(); err != nil {
		return err
	}
	if n := len(t.Value.Reveal()); n > maxValue {
		return fmt.Errorf("%w: the access token has %d bytes, and a secret of Gitea holds %d", grant.ErrTooLarge, n, maxValue)
	}
	body, err := json.Marshal(map[string]string{"data": t.Value.Reveal()})
	if err != nil {
		return errors.New("the access token cannot be written as JSON")
	}
	ctx, cancel := context.WithTimeout(ctx, s.access.Patience)
	defer cancel()
	return pauses().Try(ctx, func(ctx context.Context) (time.Duration, error) {
		status, _, err := s.send(ctx, http.MethodPut, "/"+s.secret.Name, body)
		if err == nil {
			err = s.refusal(status, http.StatusCreated, http.StatusNoContent)
		}
		if lasting(err) {
			return again.Stop, err
		}
		return 0, err
	})
}

// send makes one exchange about the repository's secrets.
func (s *Sink) send(ctx context.Context, method, rest string, body []byte) (status int, reply []byte, err error) {
	address := s.api + "/repos/" + s.secret.Repository() + "/actions/secrets" + rest
	r, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return 0, nil, errors.New("the address of the forge's API makes no request")
	}
	r.Header.Set("Accept", "application/json")
	r.Header.Set("Authorization", "token "+s.access.Token.Reveal())
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	resp, err := s.access.Transport.RoundTrip(r)
	if err != nil {
		return 0, nil, fmt.Errorf("the forge's API cannot be asked: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	reply, err = io.ReadAll(io.LimitReader(resp.Body, maxReply))
	if err != nil {
		return 0, nil, fmt.Errorf("the answer of the forge's API is incomplete: %w", err)
	}
	return resp.StatusCode, reply, nil
}

var (
	_ grant.Sink    = (*Sink)(nil)
	_ grant.Checker = (*Sink)(nil)
)
