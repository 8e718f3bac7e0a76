package oauth_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"evergrant/internal/oauth"
)

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func pkcs8(t *testing.T, key any) []byte {
	return pemOf("PRIVATE KEY", must[[]byte](t)(x509.MarshalPKCS8PrivateKey(key)))
}

type keys struct {
	rsa              *rsa.PrivateKey
	p256, p384, p521 *ecdsa.PrivateKey
	ed               ed25519.PrivateKey
}

func newKeys(t *testing.T) keys {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return keys{
		must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 2048)),
		must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)),
		must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)),
		must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P521(), rand.Reader)),
		ed,
	}
}

// The server verifies with go-jose: an implementation that is not ours.
func TestPrivateKeyJWT(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	jwkOf := func(key any) []byte {
		return must[[]byte](t)(json.Marshal(jose.JSONWebKey{Key: key, KeyID: "from-jwk"}))
	}
	sec1 := append(pemOf("EC PARAMETERS", []byte{6, 8}), pemOf("EC PRIVATE KEY", must[[]byte](t)(x509.MarshalECPrivateKey(k.p256)))...)
	for name, tc := range map[string]struct {
		text     []byte
		alg, kid string
		public   crypto.PublicKey
		wantAlg  jose.SignatureAlgorithm
		wantKid  string
	}{
		"RSA PKCS8":    {pkcs8(t, k.rsa), "", "", k.rsa.Public(), jose.RS256, ""},
		"RSA PKCS1":    {pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(k.rsa)), "", "k1", k.rsa.Public(), jose.RS256, "k1"},
		"RSA PS256":    {pkcs8(t, k.rsa), "PS256", "", k.rsa.Public(), jose.PS256, ""},
		"RSA JWK":      {jwkOf(k.rsa), "", "", k.rsa.Public(), jose.RS256, "from-jwk"},
		"P-256 SEC1":   {sec1, "", "", k.p256.Public(), jose.ES256, ""},
		"P-256 JWK":    {jwkOf(k.p256), "", "flag", k.p256.Public(), jose.ES256, "flag"},
		"P-384 PKCS8":  {pkcs8(t, k.p384), "", "", k.p384.Public(), jose.ES384, ""},
		"P-384 JWK":    {jwkOf(k.p384), "", "", k.p384.Public(), jose.ES384, "from-jwk"},
		"P-521 PKCS8":  {pkcs8(t, k.p521), "ES512", "", k.p521.Public(), jose.ES512, ""},
		"P-521 JWK":    {jwkOf(k.p521), "", "", k.p521.Public(), jose.ES512, "from-jwk"},
		"Ed25519":      {pkcs8(t, k.ed), "", "", k.ed.Public(), jose.EdDSA, ""},
		"Ed25519 JWK":  {jwkOf(k.ed), "", "", k.ed.Public(), jose.EdDSA, "from-jwk"},
		"JWK with alg": {[]byte(strings.Replace(string(jwkOf(k.rsa)), "{", `{"alg":"PS256",`, 1)), "", "", k.rsa.Public(), jose.PS256, "from-jwk"},
	} {
		for _, body := range []oauth.Body{oauth.BodyForm, oauth.BodyJSON} {
			t.Run(name+" "+body.String(), func(t *testing.T) {
				t.Parallel()
				key, err := oauth.ParseSigningKey(tc.text, tc.alg, tc.kid)
				if err != nil {
					t.Fatal(err)
				}
				if key.Algorithm() != string(tc.wantAlg) {
					t.Errorf("algorithm %s", key.Algorithm())
				}
				ids := map[string]bool{}
				var audience string
				srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					p := readParams(t, r)
					if p["client_id"] != "client" || r.Header.Get("Authorization") != "" ||
						p["client_assertion_type"] != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
						t.Error("the assertion is not sent as RFC 7523 says")
					}
					token, err := jwt.ParseSigned(p["client_assertion"], []jose.SignatureAlgorithm{tc.wantAlg})
					if err != nil {
						t.Error(err)
						return
					}
					var c jwt.Claims
					if err := token.Claims(tc.public, &c); err != nil {
						t.Error(err)
					}
					if err := c.Validate(jwt.Expected{Issuer: "client", Subject: "client", AnyAudience: jwt.Audience{audience}, Time: time.Now()}); err != nil {
						t.Error(err)
					}
					if life := c.Expiry.Time().Sub(c.IssuedAt.Time()); life < time.Minute || life > 2*time.Minute {
						t.Errorf("life %v", life)
					}
					if c.ID == "" || ids[c.ID] || token.Headers[0].KeyID != tc.wantKid {
						t.Errorf("id fresh: %v, key id %q", !ids[c.ID], token.Headers[0].KeyID)
					}
					ids[c.ID] = true
					tokenHandler().ServeHTTP(w, r)
				}))
				defer srv.Close()
				for _, audience = range []string{srv.URL + "/token", "https://issuer.example"} {
					cfg := oauth.Config{TokenURL: srv.URL + "/token", Auth: oauth.PrivateKeyJWT, Key: key, Body: body}
					if audience != cfg.TokenURL {
						cfg.Audience = audience
					}
					set, f := refresh(t, newClient(t, cfg))
					wantTokens(t, set, f)
				}
			})
		}
	}
}

func TestSigningKeyErrors(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	public := pemOf("PUBLIC KEY", must[[]byte](t)(x509.MarshalPKIXPublicKey(k.p256.Public())))
	p224 := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))
	b64 := base64.RawURLEncoding.EncodeToString
	seed, other := b64(k.ed.Seed()), b64(k.p256.X.Bytes())
	for name, tc := range map[string]struct {
		text  string
		alg   string
		kid   string
		words string
	}{
		"empty":               {"", "", "", "no private key found"},
		"garbage":             {"canary", "", "", "no private key found"},
		"public":              {string(public), "", "", "no private key found"},
		"damaged":             {string(pemOf("PRIVATE KEY", []byte("canary"))), "", "", "cannot be read"},
		"encrypted":           {string(pemOf("ENCRYPTED PRIVATE KEY", []byte("canary"))), "", "", "is encrypted"},
		"encrypted, old form": {"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n", "", "", "is encrypted"},
		"curve":               {string(pkcs8(t, p224)), "", "", "must be P-256"},
		"algorithm":           {string(pkcs8(t, k.p256)), "RS256", "", `"RS256" does not go with this private key; use ES256`},
		"none":                {string(pkcs8(t, k.rsa)), "none", "", "use RS256"},
		"key id":              {string(pkcs8(t, k.rsa)), "", "a\nb", "not printable"},
		"JWK damaged":         {`{"kty":"EC"`, "", "", "no valid JWK"},
		"JWK bad base64":      {`{"kty":"EC","d":"canary!"}`, "", "", "no valid JWK"},
		"JWK set":             {`{"keys":[]}`, "", "", "a key set must be reduced"},
		"JWK public":          {`{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}`, "", "", "no private key"},
		"JWK kind":            {`{"kty":"oct","d":"AA"}`, "", "", `"oct" is unknown`},
		"JWK curve":           {`{"kty":"EC","crv":"secp256k1","d":"AA"}`, "", "", "must be on P-256"},
		"JWK zero":            {`{"kty":"EC","crv":"P-256","d":"AA"}`, "", "", "inconsistent"},
		"JWK long":            {`{"kty":"EC","crv":"P-256","d":"` + strings.Repeat("AAAA", 20) + `"}`, "", "", "wrong length"},
		"JWK halves":          {fmt.Sprintf(`{"kty":"OKP","crv":"Ed25519","d":%q,"x":%q}`, seed, other), "", "", "do not belong together"},
		"JWK halves, EC":      {fmt.Sprintf(`{"kty":"EC","crv":"P-256","d":%q,"x":%q,"y":%q}`, seed, other, other), "", "", "do not belong together"},
		"JWK X25519":          {fmt.Sprintf(`{"kty":"OKP","crv":"X25519","d":%q}`, seed), "", "", "Ed25519"},
		"JWK RSA parts":       {`{"kty":"RSA","d":"AA","n":"AA"}`, "", "", "must hold n, e, d, p and q"},
		"JWK RSA lies":        {`{"kty":"RSA","d":"Aw","n":"Aw","e":"AQAB","p":"Aw","q":"BQ"}`, "", "", "inconsistent"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := oauth.ParseSigningKey([]byte(tc.text), tc.alg, tc.kid)
			if err == nil || !strings.Contains(err.Error(), tc.words) || strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "\n") {
				t.Errorf("error is %v", err)
			}
		})
	}
}

func TestSigningKeyDoesNotPrint(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	key := must[*oauth.SigningKey](t)(oauth.ParseSigningKey(pkcs8(t, k.p256), "", ""))
	cfg := oauth.Config{Key: key}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		if got := fmt.Sprintf(verb, key); got != "[signing key]" {
			t.Errorf("%s prints %q", verb, got)
		}
		if got := fmt.Sprintf(verb, cfg); strings.Contains(got, k.p256.D.String()) || strings.Contains(got, fmt.Sprintf("%x", k.p256.D)) {
			t.Errorf("%s of a configuration prints the key", verb)
		}
	}
}
