package file

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"evergrant/internal/grant"
)

const (
	wrapStart = `{"file":1,"nonce":"`
	wrapNext  = `","record":`
	wrapEnd   = "}\n"
	nonceLen  = 32
)

func wrap(rec []byte) []byte {
	var nonce [nonceLen / 2]byte
	_, _ = rand.Read(nonce[:]) // never fails: crypto/rand ends the program instead
	b := make([]byte, 0, len(wrapStart)+nonceLen+len(wrapNext)+len(rec)+len(wrapEnd))
	b = append(b, wrapStart...)
	b = hex.AppendEncode(b, nonce[:])
	b = append(b, wrapNext...)
	b = append(b, rec...)
	return append(b, wrapEnd...)
}

// unwrap is strict to the byte: only a Swap writes these files.
func unwrap(b []byte) ([]byte, error) {
	rest, start := bytes.CutPrefix(b, []byte(wrapStart))
	rest, end := bytes.CutSuffix(rest, []byte(wrapEnd))
	if start && end && len(rest) > nonceLen && len(bytes.Trim(rest[:nonceLen], "0123456789abcdef")) == 0 {
		if rec, ok := bytes.CutPrefix(rest[nonceLen:], []byte(wrapNext)); ok {
			return rec, nil
		}
	}
	var newer struct{ File int }
	if json.Unmarshal(b, &newer) == nil && newer.File > 1 {
		return nil, fmt.Errorf("%w: written by a newer evergrant (file format %d); upgrade, this one reads format 1", grant.ErrUnreadable, newer.File)
	}
	if len(b) == 0 {
		return nil, fmt.Errorf("%w: it is empty", grant.ErrUnreadable)
	}
	return nil, fmt.Errorf("%w: it is damaged, or no record of this store", grant.ErrUnreadable)
}

func version(b []byte) grant.Version {
	sum := sha256.Sum256(b)
	return grant.Version(hex.EncodeToString(sum[:16]))
}
