package record

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"evergrant/internal/grant"

	"filippo.io/age"
)

// identityPrefix starts an age X25519 identity, and pqPrefix the kind that we do
// not take: a seal to both kinds at once is refused by age.
const (
	identityPrefix = "AGE-SECRET-KEY-1"
	pqPrefix       = "AGE-SECRET-KEY-PQ-1"
)

// NewKey makes a sealing key: an age X25519 identity and its recipient.
func NewKey() (identity grant.Secret, recipient string, err error) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return grant.Secret{}, "", fmt.Errorf("make a sealing key: %w", err)
	}
	return grant.NewSecret(id.String()), id.Recipient().String(), nil
}

// Recipient returns the public half of a sealing key.
func Recipient(identity grant.Secret) (string, error) {
	id, err := parseIdentity(identity)
	if err != nil {
		return "", err
	}
	return id.Recipient().String(), nil
}

// ParseKeyFile reads a key file as age-keygen writes it: one line with the
// identity, comments and empty lines around it.
func ParseKeyFile(b []byte) (grant.Secret, error) {
	var found grant.Secret
	lines := strings.Split(strings.TrimRight(string(b), "\r\n"), "\n")
	for i, line := range lines {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if !found.IsZero() {
			return grant.Secret{}, fmt.Errorf("line %d: a second key; one file holds one key", i+1)
		}
		found = grant.NewSecret(line)
		if _, err := parseIdentity(found); err != nil {
			if len(lines) > 1 {
				err = fmt.Errorf("line %d: %w", i+1, err)
			}
			return grant.Secret{}, err
		}
	}
	if found.IsZero() {
		return grant.Secret{}, errors.New("there is no key in it; `evergrant key new` makes one")
	}
	return found, nil
}

// parseIdentity drops the cause of a failure: it may quote the key.
func parseIdentity(identity grant.Secret) (*age.X25519Identity, error) {
	text := strings.TrimSpace(identity.Reveal())
	if strings.HasPrefix(strings.ToUpper(text), pqPrefix) {
		return nil, errors.New("the sealing key is a post-quantum age identity, which is not supported; `evergrant key new` makes one that is")
	}
	id, err := age.ParseX25519Identity(text)
	if err != nil {
		return nil, errors.New("the sealing key is not an age X25519 identity; it looks like " + identityPrefix + "… and comes from `evergrant key new` or age-keygen")
	}
	return id, nil
}

func (c *Codec) seal(plain []byte) ([]byte, error) {
	var box bytes.Buffer
	box.Grow(len(plain) + 1024)
	w, err := age.Encrypt(&box, c.recipients...)
	if err == nil {
		_, err = w.Write(plain)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("seal record: %w", err)
	}
	return box.Bytes(), nil
}

// ErrKey: another key than the one at hand, or any key, would open the record.
var ErrKey = errors.New("the key does not open it")

// keyError is [ErrKey] in the words of its case.
type keyError string

func (e keyError) Error() string        { return string(e) }
func (e keyError) Is(target error) bool { return target == ErrKey }

func (c *Codec) open(box []byte) ([]byte, error) {
	if c.identity == nil {
		return nil, fmt.Errorf("%w: %w", grant.ErrUnreadable, keyError("it is sealed, and no key is at hand; give it with EVERGRANT_KEY or --key-file"))
	}
	r, err := age.Decrypt(bytes.NewReader(box), c.identity)
	if err != nil {
		var other *age.NoIdentityMatchError
		if errors.As(err, &other) {
			return nil, fmt.Errorf("%w: %w", grant.ErrUnreadable, keyError("it is sealed to another key; give the key that it was sealed to with EVERGRANT_KEY or --key-file"))
		}
		return nil, unreadable("its seal is damaged")
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		return nil, unreadable("its seal is damaged")
	}
	return plain, nil
}
