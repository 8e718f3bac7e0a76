package oauth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"time"
)

// assertionLife is how long a client assertion is valid: long enough for a
// clock that is a minute ahead of ours, and no longer.
const assertionLife = 2 * time.Minute

// SigningKey signs client assertions (RFC 7523). It prints as a placeholder.
type SigningKey struct {
	signer crypto.Signer
	alg    string // JWS algorithm, RFC 7518 §3.1 and RFC 8037 §3.1
	kid    string
}

// ParseSigningKey reads a private key: PEM (PKCS #8, PKCS #1, SEC 1) or one JWK
// (RFC 7517, RFC 8037). The algorithm follows from the key: ES256, ES384 or
// ES512 by curve, EdDSA for Ed25519, RS256 for RSA; alg may say PS256 for RSA. A
// kid or alg that is "" is taken from the JWK. Errors repeat nothing of the key.
func ParseSigningKey(text []byte, alg, kid string) (*SigningKey, error) {
	var signer crypto.Signer
	var err error
	if isObject(text) {
		var j jwk
		if err := json.Unmarshal(text, &j); err != nil {
			return nil, errors.New("private key is no valid JWK")
		}
		alg, kid = orDefault(alg, j.Alg), orDefault(kid, j.Kid)
		signer, err = j.private()
	} else {
		signer, err = parsePEM(text)
	}
	if err != nil {
		return nil, err
	}
	if alg, err = algorithm(signer, alg); err != nil {
		return nil, err
	}
	if !printable(kid) {
		return nil, errors.New("key id holds characters that are not printable ASCII")
	}
	return &SigningKey{signer: signer, alg: alg, kid: kid}, nil
}

// Algorithm is the JWS algorithm in use, such as "ES256".
func (k *SigningKey) Algorithm() string { return k.alg }

// Format implements [fmt.Formatter] for all verbs.
func (k *SigningKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[signing key]") }

func parsePEM(text []byte) (crypto.Signer, error) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		var key any
		var err error
		switch block.Type {
		case "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			if block.Headers["DEK-Info"] != "" {
				return nil, errors.New("private key is encrypted; give it without a passphrase")
			}
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			if block.Headers["DEK-Info"] != "" {
				return nil, errors.New("private key is encrypted; give it without a passphrase")
			}
			key, err = x509.ParseECPrivateKey(block.Bytes)
		case "ENCRYPTED PRIVATE KEY":
			return nil, errors.New("private key is encrypted; give it without a passphrase")
		default: // EC PARAMETERS, certificates
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("private key in the PEM block %q cannot be read", block.Type)
		}
		if signer, ok := key.(crypto.Signer); ok {
			return signer, nil
		}
		return nil, errors.New("private key is of a kind that cannot sign")
	}
	return nil, errors.New("no private key found; it must be PEM (PKCS #8, PKCS #1, SEC 1) or a JWK")
}

// algorithm checks the key and returns the one that goes with it.
func algorithm(signer crypto.Signer, want string) (string, error) {
	var fits []string
	switch k := signer.(type) {
	case *rsa.PrivateKey:
		if k.N.BitLen() < 2048 {
			return "", fmt.Errorf("RSA key has %d bits; at least 2048 are needed (RFC 7518 §3.3)", k.N.BitLen())
		}
		fits = []string{"RS256", "PS256"}
	case *ecdsa.PrivateKey:
		switch k.Curve {
		case elliptic.P256():
			fits = []string{"ES256"}
		case elliptic.P384():
			fits = []string{"ES384"}
		case elliptic.P521():
			fits = []string{"ES512"}
		default:
			return "", errors.New("elliptic curve of the private key must be P-256, P-384 or P-521")
		}
	case ed25519.PrivateKey:
		fits = []string{"EdDSA"}
	default:
		return "", errors.New("private key must be RSA, ECDSA or Ed25519")
	}
	if want == "" {
		return fits[0], nil
	}
	for _, alg := range fits {
		if alg == want {
			return alg, nil
		}
	}
	return "", fmt.Errorf("algorithm %.16q does not go with this private key; use %s", want, fits[0])
}

// assertion is a fresh JWT of RFC 7523 §3 for one request.
func (k *SigningKey) assertion(clientID, audience string, now time.Time) (string, error) {
	header := map[string]string{"alg": k.alg, "typ": "JWT"}
	if k.kid != "" {
		header["kid"] = k.kid
	}
	claims := map[string]any{
		"iss": clientID, "sub": clientID, "aud": audience, "jti": rand.Text(),
		"iat": now.Unix(), "exp": now.Add(assertionLife).Unix(),
	}
	h, err := json.Marshal(header)
	if err != nil {
		return "", fmt.Errorf("sign assertion: %w", err)
	}
	b, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("sign assertion: %w", err)
	}
	enc := base64.RawURLEncoding
	text := enc.EncodeToString(h) + "." + enc.EncodeToString(b)
	sig, err := k.sign([]byte(text))
	if err != nil {
		return "", fmt.Errorf("sign assertion: %w", err)
	}
	return text + "." + enc.EncodeToString(sig), nil
}

func (k *SigningKey) sign(text []byte) ([]byte, error) {
	var digest []byte
	var opts crypto.SignerOpts
	switch k.alg {
	case "EdDSA":
		return k.signer.Sign(rand.Reader, text, crypto.Hash(0))
	case "ES384":
		sum := sha512.Sum384(text)
		digest, opts = sum[:], crypto.SHA384
	case "ES512":
		sum := sha512.Sum512(text)
		digest, opts = sum[:], crypto.SHA512
	default:
		sum := sha256.Sum256(text)
		digest, opts = sum[:], crypto.SHA256
	}
	if k.alg == "PS256" {
		opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
	}
	sig, err := k.signer.Sign(rand.Reader, digest, opts)
	if err != nil {
		return nil, err
	}
	if key, ok := k.signer.(*ecdsa.PrivateKey); ok {
		return fixedWidth(sig, (key.Curve.Params().BitSize+7)/8)
	}
	return sig, nil
}

// fixedWidth turns an ASN.1 signature into the R || S of RFC 7518 §3.4.
func fixedWidth(der []byte, width int) ([]byte, error) {
	var rs struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &rs); err != nil {
		return nil, err
	}
	out := make([]byte, 2*width)
	rs.R.FillBytes(out[:width])
	rs.S.FillBytes(out[width:])
	return out, nil
}
