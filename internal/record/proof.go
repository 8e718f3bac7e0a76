package record

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"

	"evergrant/internal/grant"

	"filippo.io/age"
)

// proofLabel separates the key of the proof from every other use of the
// identity (RFC 5869 §3.2).
const proofLabel = "evergrant/record-proof/1"

// prover makes and checks the member "proof" of a sealed record. age seals to a
// public recipient, so that anybody who knows the recipient can make a record
// that opens. The proof can only be made with the identity, and covers the
// name of the place that the record is kept in and the whole age file, with
// the grant, the consent and the generation that are in it.
type prover struct {
	key    []byte
	places []string // the first is written; any is accepted
}

// Authenticated returns a copy that writes and accepts only sealed records with
// a proof that somebody with the identity wrote them for place. A record of
// another place is refused too: a copy of it would spend the original's tokens.
// It accepts records of the former places, which is for a place that was renamed.
func (c *Codec) Authenticated(place string, former ...string) (*Codec, error) {
	if c.identity == nil {
		return nil, errors.New("records are proven with the sealing key, and none is at hand; `evergrant key new` makes one")
	}
	key, err := c.proofKey()
	if err != nil {
		return nil, fmt.Errorf("key of the proof: %w", err)
	}
	strict := c.RequireSealed()
	strict.prover = &prover{key: key, places: append([]string{place}, former...)}
	return strict, nil
}

func (c *Codec) proofKey() ([]byte, error) {
	id, ok := c.identity.(*age.X25519Identity)
	if !ok {
		return nil, errors.New("the sealing key is not an age X25519 identity")
	}
	return hkdf.Key(sha256.New, []byte(id.String()), nil, proofLabel, sha256.Size)
}

// proof is HMAC-SHA-256 over the length of the place in eight bytes, the place,
// and the age file.
func (p *prover) proof(place string, box []byte) []byte {
	mac := hmac.New(sha256.New, p.key)
	_, _ = mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(place)))) // a hash never fails
	_, _ = mac.Write([]byte(place))
	_, _ = mac.Write(box)
	return mac.Sum(nil)
}

// appendTo writes the member that follows "sealed".
func (p *prover) appendTo(out, box []byte) []byte {
	out = append(out, `,"proof":"`...)
	out = base64.StdEncoding.AppendEncode(out, p.proof(p.places[0], box))
	return append(out, '"')
}

// check comes before the seal is opened: nothing of a forged record is read.
func (p *prover) check(members []member, box []byte) error {
	for _, m := range members {
		if m.name != "proof" {
			continue
		}
		s, err := unquote(m.raw)
		if err != nil {
			return unreadable("member /proof is not a string")
		}
		got, err := base64.StdEncoding.Strict().DecodeString(s)
		if err != nil {
			return unreadable("it is damaged: member /proof is not base64")
		}
		for _, place := range p.places {
			if hmac.Equal(got, p.proof(place, box)) {
				return nil
			}
		}
		return fmt.Errorf("%w: %w", grant.ErrUnreadable, ErrUnproven)
	}
	return unreadable("nothing proves who wrote it, and only proven records are accepted here")
}

// ErrUnproven: the seal opens and the proof of a record is wrong. Whether it was
// made for another place or by a stranger cannot be told.
var ErrUnproven = errors.New("its proof does not hold: it was written for another place, or by somebody without the key")
