package githubapi

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"evergrant/internal/grant"

	"golang.org/x/crypto/nacl/box"
)

// Key is the public key that secrets of one repository or environment are
// sealed to.
type Key struct {
	id     string
	public [32]byte
}

// Description is what the API tells of a secret, in whole seconds of GitHub's
// clock.
type Description struct{ Created, Updated time.Time }

// ErrAbsent: the repository, and the environment if one is named, can be seen
// by the token and have no such secret.
var ErrAbsent = errors.New("there is no such secret")

// PublicKey fetches the key. It can be had by whoever may write the secret, and
// by some who may not.
func (c *Client) PublicKey(ctx context.Context, s Secret) (Key, error) {
	body, err := c.send(ctx, request{method: http.MethodGet, path: s.folder() + "/public-key", about: s})
	if err != nil {
		return Key{}, c.explainMissing(ctx, s, err)
	}
	var reply struct {
		KeyID string `json:"key_id"`
		Key   string `json:"key"`
	}
	if err := json.Unmarshal(body, &reply); err != nil {
		return Key{}, errNotTheAPI
	}
	public, err := base64.StdEncoding.DecodeString(reply.Key)
	if err != nil || reply.KeyID == "" {
		return Key{}, errNotTheAPI
	}
	k := Key{id: reply.KeyID}
	if copy(k.public[:], public) != len(k.public) || len(public) != len(k.public) {
		return Key{}, errNotTheAPI
	}
	return k, nil
}

// errNotTheAPI: an answer with status 200 that GitHub's API does not give.
var errNotTheAPI = errors.New("the answer is not one of GitHub's API; is its address right?")

// Describe tells when a secret was made and last written. [ErrAbsent] is
// definite; what may also mean that the token cannot see the place is another
// error.
func (c *Client) Describe(ctx context.Context, s Secret) (Description, error) {
	body, err := c.send(ctx, request{method: http.MethodGet, path: s.path(), about: s})
	var refusal *Error
	if errors.As(err, &refusal) && refusal.Status == http.StatusNotFound {
		if _, kerr := c.PublicKey(ctx, s); kerr != nil {
			return Description{}, kerr
		}
		return Description{}, ErrAbsent
	}
	if err != nil {
		return Description{}, err
	}
	var reply struct {
		Created time.Time `json:"created_at"`
		Updated time.Time `json:"updated_at"`
	}
	if err := json.Unmarshal(body, &reply); err != nil || reply.Updated.IsZero() {
		return Description{}, errNotTheAPI
	}
	return Description{reply.Created, reply.Updated}, nil
}

// explainMissing tells an environment that does not exist from a repository
// that cannot be seen, where the token may look at the repository's secrets.
func (c *Client) explainMissing(ctx context.Context, s Secret, err error) error {
	var refusal *Error
	if s.Environment == "" || !errors.As(err, &refusal) || refusal.Status != http.StatusNotFound {
		return err
	}
	whole := Secret{Owner: s.Owner, Repo: s.Repo, Name: s.Name}
	if _, kerr := c.PublicKey(ctx, whole); kerr == nil {
		refusal.text = fmt.Sprintf("the repository %s has no environment %q; make it under Settings, Environments", s.Repository(), s.Environment)
	}
	return err
}

// Put seals the value and writes it. An [*Error] with status 3xx or 4xx says that
// nothing was written; after any other the outcome is unknown.
func (c *Client) Put(ctx context.Context, s Secret, k Key, value grant.Secret) error {
	if n := len(value.Reveal()); n > MaxValue {
		return fmt.Errorf("%w: the value has %d bytes, and a GitHub secret holds %d", grant.ErrTooLarge, n, MaxValue)
	}
	sealed, err := box.SealAnonymous(nil, []byte(value.Reveal()), &k.public, rand.Reader)
	if err != nil {
		return fmt.Errorf("sealing the value: %w", err)
	}
	message, err := json.Marshal(map[string]string{"encrypted_value": base64.StdEncoding.EncodeToString(sealed), "key_id": k.id})
	if err != nil {
		return fmt.Errorf("writing the request: %w", err)
	}
	_, err = c.write(ctx, request{method: http.MethodPut, path: s.path(), body: message, about: s})
	return err
}

// Delete removes the secret; one that is not there is removed already.
func (c *Client) Delete(ctx context.Context, s Secret) error {
	_, err := c.write(ctx, request{method: http.MethodDelete, path: s.path(), about: s})
	var refusal *Error
	if errors.As(err, &refusal) && refusal.Status == http.StatusNotFound {
		return nil
	}
	return err
}

// request is one call; about and issues are for errors: what it is about, and that
// it is the repository's issues and no secret.
type request struct {
	method, path string
	body         []byte
	about        Secret
	issues       bool
}

const (
	// maxWrites is how often one write is sent at most.
	maxWrites = 3
	// writePause is the first pause between two of them; it doubles.
	writePause = 500 * time.Millisecond
	// maxWait is how long GitHub may make one write wait.
	maxWait = 90 * time.Second
)

// write sends a request that may be repeated.
func (c *Client) write(ctx context.Context, r request) ([]byte, error) {
	pause := writePause
	for tries := 1; ; tries++ {
		body, err := c.send(ctx, r)
		var refusal *Error
		if err == nil || tries == maxWrites || ctx.Err() != nil || errors.As(err, &refusal) && refusal.Lasting() {
			return body, err
		}
		wait := pause
		if refusal != nil && !refusal.Until.IsZero() {
			wait = max(wait, refusal.Until.Sub(c.now()))
		}
		if end, bounded := ctx.Deadline(); wait > maxWait || bounded && wait >= time.Until(end) {
			return nil, err
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil, err
		case <-t.C:
		}
		pause *= 2
	}
}

// send makes one exchange. It sends nothing while GitHub asks to wait.
func (c *Client) send(ctx context.Context, r request) ([]byte, error) {
	if until := c.waiting(); !until.IsZero() {
		return nil, limitError(r, 0, until)
	}
	out, err := http.NewRequestWithContext(ctx, r.method, c.base+r.path, bytes.NewReader(r.body))
	if err != nil {
		return nil, errors.New("the address of GitHub's API makes no request")
	}
	out.Header.Set("Accept", "application/vnd.github+json")
	out.Header.Set("X-Github-Api-Version", apiVersion)
	out.Header.Set("Authorization", "Bearer "+c.token.Reveal())
	if r.body != nil {
		out.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.transport.RoundTrip(out)
	if err != nil {
		return nil, fmt.Errorf("GitHub's API cannot be asked: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := readAll(resp.Body)
	if err != nil {
		return nil, err
	}
	c.note(resp.Header)
	if resp.StatusCode >= 200 && resp.StatusCode <= 299 {
		return body, nil
	}
	return nil, c.refusal(r, resp.StatusCode, resp.Header, body)
}
