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

	"evergrant/internal/grant"
)

const (
	// timeout bounds one delivery: a token that cannot be delivered for so long is
	// reported, and the next run delivers it.
	timeout = 30 * time.Second
	// maxWrites is how often one delivery is sent at most: it puts the same value,
	// so that nothing is lost by doing it twice.
	maxWrites = 3
	// writePause is the first pause between two of them; it doubles.
	writePause = 500 * time.Millisecond
	// maxValue is the longest value of a secret, in bytes (SecretDataMaxLength in
	// Gitea's models/secret).
	maxValue = 65_536
	// maxReply bounds the answers that are read, in bytes.
	maxReply = 1 << 20
)

// Access is who writes, and by what way. Both are required.
type Access struct {
	Token grant.Secret
	// Transport makes one exchange for each request; it must not follow
	// redirects, which would carry the token along, and must bound time and size.
	Transport http.RoundTripper
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
	return &Sink{secret: secret, api: base, access: access}, nil
}

// Check says what somebody has to mend before the secret can be written, as far
// as that shows without writing. Gitea lists secrets to whoever may write them,
// but a token whose scope is to read is found out by the delivery.
func (s *Sink) Check(ctx context.Context) error {
	status, body, err := s.send(ctx, http.MethodGet, "?limit=1", nil)
	if err != nil {
		return nil // what cannot be asked now may be there when there is a token
	}
	switch err := s.refusal(status, http.StatusOK); {
	case err != nil && lasting(err):
		return err
	case err != nil:
		return nil
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

// Deliver replaces the secret's value by exactly the token. Jobs that start
// later get it.
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
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	pause := writePause
	for tries := 1; ; tries++ {
		status, _, err := s.send(ctx, http.MethodPut, "/"+s.secret.Name, body)
		if err == nil {
			err = s.refusal(status, http.StatusCreated, http.StatusNoContent)
		}
		if err == nil || tries == maxWrites || ctx.Err() != nil || lasting(err) {
			return err
		}
		if end, bounded := ctx.Deadline(); bounded && pause >= time.Until(end) {
			return err
		}
		wait := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			wait.Stop()
			return err
		case <-wait.C:
		}
		pause *= 2
	}
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

var _ grant.Sink = (*Sink)(nil)
