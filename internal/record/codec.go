package record

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"evergrant/internal/grant"

	"filippo.io/age"
)

// Codec turns records into bytes and back, sealed where it has a recipient. It
// is immutable and safe for concurrent use.
type Codec struct {
	identity    age.Identity // nil: cannot open a sealed record
	recipients  []age.Recipient
	requireSeal bool
	prover      *prover // nil: records carry no proof, and none is asked for
}

// NewCodec seals to the recipient of identity and to the further recipients,
// which are age X25519 recipients ("age1…"), and opens with identity. Without
// any of them it writes plain records; with recipients alone it can write and
// cannot read. A plain record is readable with a key, too, so that a store can
// be sealed from its next write on; see [Codec.RequireSealed].
func NewCodec(identity grant.Secret, recipients ...string) (*Codec, error) {
	c := new(Codec)
	if !identity.IsZero() {
		id, err := parseIdentity(identity)
		if err != nil {
			return nil, err
		}
		c.identity = id
		c.recipients = append(c.recipients, id.Recipient())
	}
	for _, r := range recipients {
		recipient, err := age.ParseX25519Recipient(r)
		if err != nil {
			return nil, fmt.Errorf("recipient %q is not an age X25519 recipient; it looks like age1… and comes from `evergrant key new` or age-keygen", shorten(r))
		}
		c.recipients = append(c.recipients, recipient)
	}
	return c, nil
}

// RequireSealed returns a copy that refuses plain records.
func (c *Codec) RequireSealed() *Codec {
	strict := *c
	strict.requireSeal = true
	return &strict
}

// ErrPlain: the record is not sealed, and the codec accepts only sealed ones. It
// may be older than the key, or somebody without the key has put it there.
var ErrPlain = errors.New("it is not sealed, and only sealed records are accepted here")

// Sealed reports whether Encode seals.
func (c *Codec) Sealed() bool { return len(c.recipients) > 0 }

// Encode returns the stored form of a record. It reads its own result back
// before it returns, so that nothing unreadable is ever stored.
func (c *Codec) Encode(cred grant.Credential) ([]byte, error) {
	plain, err := c.marshal(cred)
	if err != nil || !c.Sealed() {
		return plain, err
	}
	box, err := c.seal(plain)
	if err != nil {
		return nil, err
	}
	out := fmt.Appendf(nil, `{"evergrant":%d,"sealed":"`, major)
	out = base64.StdEncoding.AppendEncode(out, box)
	out = append(out, '"')
	if c.prover != nil {
		out = c.prover.appendTo(out, box)
	}
	return append(out, '}'), nil
}

func (c *Codec) marshal(cred grant.Credential) ([]byte, error) {
	plain, err := marshal(cred)
	if err != nil {
		return nil, fmt.Errorf("record cannot be written: %w", err)
	}
	if _, err := decodePlain(cred.Grant, plain); err != nil {
		return nil, fmt.Errorf("record cannot be written: %v", err)
	}
	return plain, nil
}

// Decode reads the stored form of the record of grant id, sealed or plain. All
// its errors wrap [grant.ErrUnreadable] and say what to do.
func (c *Codec) Decode(id grant.ID, b []byte) (grant.Credential, error) {
	members, err := splitRecord(b)
	if err != nil {
		return grant.Credential{}, err
	}
	sealed, err := boxOf(members)
	switch {
	case err != nil:
		return grant.Credential{}, err
	case sealed != nil:
		if c.prover != nil {
			if err := c.prover.check(members, sealed); err != nil {
				return grant.Credential{}, c.blameKey(err, sealed)
			}
		}
		plain, err := c.open(sealed)
		if err != nil {
			return grant.Credential{}, err
		}
		return decodePlain(id, plain)
	case c.requireSeal:
		return grant.Credential{}, fmt.Errorf("%w: %w", grant.ErrUnreadable, ErrPlain)
	}
	return decodeMembers(id, members)
}

// blameKey says that the key is another one where that is why a proof does not
// hold. Nothing that is in the seal is believed.
func (c *Codec) blameKey(err error, sealed []byte) error {
	if !errors.Is(err, ErrUnproven) {
		return err
	}
	if _, oerr := c.open(sealed); oerr != nil {
		return oerr
	}
	return err
}

// boxOf looks at the envelope: it returns the age file of a sealed record and
// nil for a plain one.
func boxOf(members []member) ([]byte, error) {
	for _, m := range members {
		if m.name != "sealed" {
			continue
		}
		s, err := unquote(m.raw)
		if err != nil {
			return nil, unreadable("member /sealed is not a string")
		}
		sealed, err := base64.StdEncoding.Strict().DecodeString(s)
		if err != nil || len(sealed) == 0 {
			return nil, unreadable("it is damaged: member /sealed is not base64")
		}
		return sealed, nil
	}
	return nil, nil
}

// splitRecord checks that b is one JSON object of a major version that we know
// and returns its members. They are cut from one copy of b.
func splitRecord(b []byte) ([]member, error) {
	b = bytes.Trim(b, " \t\r\n")
	if len(b) == 0 {
		return nil, unreadable("it is empty")
	}
	if !json.Valid(b) {
		return nil, unreadable("it is damaged: not one whole JSON object")
	}
	members, err := splitObject(make([]member, 0, fewMembers), string(b))
	if err != nil {
		return nil, unreadable("it %v", err)
	}
	for _, m := range members {
		if m.name != "evergrant" {
			continue
		}
		v, err := strconv.ParseUint(m.raw, 10, 64)
		switch {
		case err != nil || v == 0:
			return nil, unreadable("member /evergrant is not a version")
		case v > major:
			return nil, unreadable("written by a newer evergrant (format %d); upgrade, this one reads up to format %d", v, major)
		}
		return members, nil
	}
	return nil, unreadable("it is not an evergrant record: member /evergrant is missing")
}

// decodePlain reads the wire form; an empty id takes any grant.
func decodePlain(id grant.ID, b []byte) (grant.Credential, error) {
	members, err := splitRecord(b)
	if err != nil {
		return grant.Credential{}, err
	}
	return decodeMembers(id, members)
}

func decodeMembers(id grant.ID, members []member) (grant.Credential, error) {
	cred, err := unmarshal(members)
	if err != nil {
		return grant.Credential{}, unreadable("%v", err)
	}
	if id != "" && cred.Grant != id {
		return grant.Credential{}, unreadable("it belongs to grant %q", shorten(string(cred.Grant)))
	}
	return cred, nil
}

func unreadable(format string, args ...any) error {
	return fmt.Errorf("%w: %s", grant.ErrUnreadable, fmt.Sprintf(format, args...))
}
