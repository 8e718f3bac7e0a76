package oauth

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"strings"
)

// jwk is one private JSON Web Key (RFC 7518 §6, RFC 8037 §2).
type jwk struct {
	Kty, Crv, Alg, Kid  string
	D, X, Y, N, E, P, Q b64
}

// b64 is a base64url member. Padding, which RFC 7515 forbids, is forgiven.
type b64 []byte

func (b *b64) UnmarshalText(text []byte) error {
	v, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(string(text), "="))
	*b = v
	return err
}

func (b b64) int() *big.Int { return new(big.Int).SetBytes(b) }

func (j jwk) private() (crypto.Signer, error) {
	if len(j.D) == 0 {
		if j.Kty == "" {
			return nil, errors.New("private key is no valid JWK: kty is missing (a key set must be reduced to one key)")
		}
		return nil, errors.New("JWK holds no private key (member d)")
	}
	switch j.Kty {
	case "RSA":
		return j.rsa()
	case "EC":
		return j.ec()
	case "OKP":
		if j.Crv != "Ed25519" || len(j.D) != ed25519.SeedSize {
			return nil, errors.New("JWK of type OKP must be a whole Ed25519 key")
		}
		key := ed25519.NewKeyFromSeed(j.D)
		if len(j.X) > 0 && !bytes.Equal(j.X, key[ed25519.SeedSize:]) {
			return nil, errors.New("public and private half of the JWK do not belong together")
		}
		return key, nil
	}
	return nil, fmt.Errorf("JWK type %.16q is unknown; it is RSA, EC or OKP", j.Kty)
}

func (j jwk) rsa() (crypto.Signer, error) {
	e := j.E.int()
	if len(j.N) == 0 || len(j.P) == 0 || len(j.Q) == 0 || !e.IsInt64() || e.Int64() < 3 || e.Int64() > 1<<31-1 {
		return nil, errors.New("JWK of type RSA must hold n, e, d, p and q")
	}
	key := &rsa.PrivateKey{
		PublicKey: rsa.PublicKey{N: j.N.int(), E: int(e.Int64())},
		D:         j.D.int(),
		Primes:    []*big.Int{j.P.int(), j.Q.int()},
	}
	if err := key.Validate(); err != nil {
		return nil, errors.New("JWK of type RSA is inconsistent")
	}
	key.Precompute()
	return key, nil
}

func (j jwk) ec() (crypto.Signer, error) {
	var curve elliptic.Curve
	switch j.Crv {
	case "P-256":
		curve = elliptic.P256()
	case "P-384":
		curve = elliptic.P384()
	case "P-521":
		curve = elliptic.P521()
	default:
		return nil, errors.New("JWK of type EC must be on P-256, P-384 or P-521")
	}
	width := (curve.Params().BitSize + 7) / 8
	if len(j.D) > width {
		return nil, errors.New("JWK of type EC has a member d of the wrong length")
	}
	key, err := ecdsa.ParseRawPrivateKey(curve, j.D.int().FillBytes(make([]byte, width)))
	if err != nil {
		return nil, errors.New("JWK of type EC is inconsistent")
	}
	public, err := key.PublicKey.Bytes() // 4 || X || Y
	if err != nil {
		return nil, errors.New("JWK of type EC is inconsistent")
	}
	point := append(append([]byte{4}, j.X.int().FillBytes(make([]byte, max(width, len(j.X))))...),
		j.Y.int().FillBytes(make([]byte, max(width, len(j.Y))))...)
	if len(j.X) > 0 && !bytes.Equal(point, public) {
		return nil, errors.New("public and private half of the JWK do not belong together")
	}
	return key, nil
}
