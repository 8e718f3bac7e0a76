package oauth

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"evergrant/internal/grant"
)

// AuthMethod is how the client authenticates at the token endpoint, by the
// names of the IANA registry "OAuth Token Endpoint Authentication Methods".
type AuthMethod uint8

const (
	// AuthNone sends the client id in the body (RFC 6749 §3.2.1).
	AuthNone AuthMethod = iota
	// ClientSecretBasic sends id and secret, each form-encoded first, by HTTP
	// Basic (RFC 6749 §2.3.1).
	ClientSecretBasic
	// ClientSecretPost sends id and secret in the body (RFC 6749 §2.3.1).
	ClientSecretPost
	// PrivateKeyJWT sends a signed assertion (RFC 7523 §2.2).
	PrivateKeyJWT
)

func (m AuthMethod) String() string {
	names := [...]string{"none", "client_secret_basic", "client_secret_post", "private_key_jwt"}
	if int(m) < len(names) {
		return names[m]
	}
	return fmt.Sprintf("number %d", uint8(m))
}

// ParseAuthMethod reads a registered name, or basic or post for short.
func ParseAuthMethod(s string) (AuthMethod, error) {
	switch s {
	case "none":
		return AuthNone, nil
	case "client_secret_basic", "basic":
		return ClientSecretBasic, nil
	case "client_secret_post", "post":
		return ClientSecretPost, nil
	case "private_key_jwt":
		return PrivateKeyJWT, nil
	}
	return AuthNone, fmt.Errorf("client authentication %q is unknown; it is none, basic, post or private_key_jwt", s)
}

// encode returns the whole request of a refresh as it goes over the wire. It
// signs the assertion, so it is called right before sending.
func (c *Client) encode(refresh grant.Secret) ([]byte, error) {
	p := c.ownParams()
	if c.cfg.Scope != "" {
		p["scope"] = c.cfg.Scope
	}
	p["grant_type"] = "refresh_token"
	p["refresh_token"] = refresh.Reveal()
	return c.message(c.cfg.TokenURL, c.cfg.Body, p)
}

// ownParams are the parameters that every request to the token endpoint has.
func (c *Client) ownParams() map[string]string {
	p := make(map[string]string, len(c.cfg.Params)+6)
	for name, value := range c.cfg.Params {
		p[name] = value
	}
	return p
}

// message is a whole request with these parameters, to which it adds the
// client's authentication.
func (c *Client) message(address string, b Body, p map[string]string) ([]byte, error) {
	if err := c.authenticate(p); err != nil {
		return nil, err
	}
	body, contentType, err := encodeBody(b, p)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequest(http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("build request: %w", err)
	}
	for name, value := range c.cfg.Headers {
		req.Header.Set(name, value)
	}
	req.Close = true
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("User-Agent", c.cfg.UserAgent)
	req.Header.Set("Accept-Encoding", "identity")
	if req.Header.Get("Accept") == "" {
		req.Header.Set("Accept", "application/json")
	}
	if c.cfg.Auth == ClientSecretBasic {
		// Both halves are form-encoded, so a colon in the id cannot split them
		// at the wrong place (RFC 6749 §2.3.1 and appendix B).
		pair := url.QueryEscape(c.cfg.ClientID) + ":" + url.QueryEscape(c.cfg.Secret.Reveal())
		req.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(pair)))
	}
	var wire bytes.Buffer
	if err := req.Write(&wire); err != nil {
		return nil, fmt.Errorf("build request: %w", err)
	}
	return wire.Bytes(), nil
}

// authenticate adds to the parameters what the client proves itself by.
func (c *Client) authenticate(p map[string]string) error {
	if c.cfg.ClientID != "" && c.cfg.Auth != ClientSecretBasic {
		p["client_id"] = c.cfg.ClientID
	}
	switch c.cfg.Auth {
	case ClientSecretPost:
		p["client_secret"] = c.cfg.Secret.Reveal()
	case PrivateKeyJWT:
		assertion, err := c.cfg.Key.assertion(c.cfg.ClientID, orDefault(c.cfg.Audience, c.cfg.TokenURL), c.cfg.Now())
		if err != nil {
			return err
		}
		p["client_assertion_type"] = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
		p["client_assertion"] = assertion
	}
	return nil
}

func encodeBody(b Body, params map[string]string) ([]byte, string, error) {
	if b == BodyJSON {
		var buf bytes.Buffer
		enc := json.NewEncoder(&buf)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(params); err != nil {
			return nil, "", fmt.Errorf("build request: %w", err)
		}
		return bytes.TrimRight(buf.Bytes(), "\n"), "application/json", nil
	}
	form := make(url.Values, len(params))
	for name, value := range params {
		form.Set(name, value)
	}
	return []byte(form.Encode()), "application/x-www-form-urlencoded", nil
}
