package provider

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"evergrant/internal/grant"
)

// Preset is the description of one authorization server, as its YAML file has
// it. A Preset from [Lookup] or [Parse] is complete and consistent.
//
// A file looks like this; everything but name, title, token_url and
// refresh.rotates may be left out:
//
//	name: example
//	title: Example, for tests
//	aka: [sample]
//	token_url: https://{host}/oauth/token
//	vars:
//	  host: {about: host of your instance, kind: host, default: example.com}
//	retired_hosts:
//	  - {host: old.example.com, since: 2026-01-31, use: "https://example.com/oauth/token", says: answers 404}
//	client: {id: "", secret: required, auth: client_secret_basic}
//	request:
//	  body: form
//	  scope_separator: " "
//	  headers: {Accept: application/json}
//	  params: {audience: api}
//	refresh: {rotates: true, reuse: grace, grace: 30s, sibling: same, revokes_access: false}
//	lifetimes: {access: 1h, idle: 90d, absolute: 365d}
//	errors:
//	  - {code: token_spent, fate: rejected, means: the refresh token was used before}
//	  - {status: 503, fate: unspent, means: maintenance}
//	answers: {errors: flat, spent_code: invalid_grant, spent_status: 400, spent_member: "", refresh_expiry: refresh_token_expires_in}
//	sign_in:
//	  authorize_url: https://{host}/oauth/authorize
//	  device_url: https://{host}/oauth/device
//	  revoke_url: https://{host}/oauth/revoke
//	  redirect: loopback
//	  scope: offline_access
//	  params: {prompt: consent}
//	env: {refresh: EXAMPLE_REFRESH_TOKEN, access: EXAMPLE_TOKEN, shadowed_by: [EXAMPLE_API_KEY]}
//	terms: {shared_use: unknown, summary: not read, url: "https://example.com/terms", checked: 2026-11-24}
//	sources:
//	  - {name: token page, url: "https://example.com/docs", says: refresh tokens rotate, confidence: single}
//	tested: documented
//	notes: [one sentence for people]
type Preset struct {
	// Name is what --provider takes: lower-case letters, digits and hyphens.
	Name string `yaml:"name"`
	// Title names the provider for people, on one line.
	Title string `yaml:"title"`
	// AKA lists other names under which people look for it. They are only
	// suggested, never resolved: a grant's record holds one name.
	AKA []string `yaml:"aka"`
	// TokenURL is the token endpoint (RFC 6749 §3.2); {name} stands for a Var.
	TokenURL string `yaml:"token_url"`
	// Vars describes the placeholders of TokenURL, by name.
	Vars map[string]Var `yaml:"vars"`
	// RetiredHosts are refused, with the address that took their place.
	RetiredHosts []RetiredHost `yaml:"retired_hosts"`

	Client    Client    `yaml:"client"`
	Request   Request   `yaml:"request"`
	Refresh   Refresh   `yaml:"refresh"`
	Lifetimes Lifetimes `yaml:"lifetimes"`
	// Errors lists the codes and statuses whose meaning a source states. What
	// RFC 6749 §5.2 defines holds without being listed.
	Errors  []Error `yaml:"errors"`
	Answers Answers `yaml:"answers"`
	Env     Env     `yaml:"env"`
	SignIn  SignIn  `yaml:"sign_in"`
	Terms   Terms   `yaml:"terms"`

	Sources []Source `yaml:"sources"`
	// Tested says how the description was checked: [TestedLive],
	// [TestedTranscript], [TestedDocumented]. Empty: it was not.
	Tested string `yaml:"tested"`
	// Notes are for people, one sentence or two each.
	Notes []string `yaml:"notes"`

	// Origin is the file that the preset came from, for messages.
	Origin string `yaml:"-"`
}

// Kinds of a [Var].
const (
	KindHost    = "host"    // a host name, with a port if need be
	KindSegment = "segment" // one segment of a path
)

// Var is a placeholder of a token URL. Users fill it with a parameter of the
// same name, which is then not sent.
type Var struct {
	About   string `yaml:"about"`   // what it is, for the line that asks for it
	Kind    string `yaml:"kind"`    // KindHost or KindSegment
	Default string `yaml:"default"` // "": the user must give it
}

// RetiredHost is a host that served the token endpoint once.
type RetiredHost struct {
	Host  string `yaml:"host"`
	Since string `yaml:"since"` // a date, 2006-01-02
	Use   string `yaml:"use"`   // the token URL to use instead
	Says  string `yaml:"says"`  // what it does now
}

// Client authentication methods (RFC 7591 §2, RFC 7523 §2.2).
const (
	AuthNone  = "none"
	AuthBasic = "client_secret_basic"
	AuthPost  = "client_secret_post"
	AuthJWT   = "private_key_jwt"
)

// Whether a client of the provider has a secret.
const (
	SecretNever    = "never"    // a public client; a secret is refused
	SecretOptional = "optional" // depends on how the client was registered
	SecretRequired = "required"
)

// Client says who asks.
type Client struct {
	// ID is the published id of a public client that everybody uses; "": users
	// bring their own.
	ID string `yaml:"id"`
	// Secret is SecretNever, SecretOptional (the default) or SecretRequired.
	Secret string `yaml:"secret"`
	// Auth is how a secret is sent, AuthBasic if empty. Without a secret it is
	// AuthNone, with a signing key AuthJWT.
	Auth string `yaml:"auth"`
}

// Encodings of the token request's body.
const (
	BodyForm = "form" // application/x-www-form-urlencoded, RFC 6749 §4.1.3
	BodyJSON = "json"
)

// Request says how a refresh is asked for.
type Request struct {
	Body           string            `yaml:"body"`            // BodyForm if empty, or BodyJSON
	ScopeSeparator string            `yaml:"scope_separator"` // " " if empty, or ","
	Headers        map[string]string `yaml:"headers"`
	Params         map[string]string `yaml:"params"` // sent unless the user says otherwise
}

// Refresh says what a refresh does to the tokens before it.
type Refresh struct {
	// Rotates: a refresh returns a new refresh token. It must be stated.
	Rotates *bool `yaml:"rotates"`
	// Reuse is what happens to a spent token that comes again: "fatal" (also if
	// empty), "grace" or "safe", see [grant.Reuse].
	Reuse string `yaml:"reuse"`
	// Grace is counted from the first use; only with "grace".
	Grace Span `yaml:"grace"`
	// Sibling is what a second answer inside the grace does to the first:
	// "replaces" (also if empty), "same" or "valid", see [grant.Sibling].
	Sibling string `yaml:"sibling"`
	// RevokesAccess: a refresh ends the access token issued before it.
	RevokesAccess bool `yaml:"revokes_access"`
}

// Lifetimes are typical; what the provider answers goes before them. 0: not
// known, or none.
type Lifetimes struct {
	Access   Span `yaml:"access"`   // of an access token
	Idle     Span `yaml:"idle"`     // of a refresh token that is not used
	Absolute Span `yaml:"absolute"` // of a consent, however often it is used
}

// Error is one answer whose meaning a source states: a code or a status.
type Error struct {
	// Code is the provider's error code or, where that is missing or says too
	// little, the whole text of the answer's error_description, message, reason or
	// status, as it stands there. Such a text wins over the code beside it.
	Code   string `yaml:"code"`
	Status int    `yaml:"status"`
	// Fate is "rejected", "refused", "unspent" or "in doubt", see [grant.Fate].
	Fate  string `yaml:"fate"`
	Means string `yaml:"means"`
}

// Shapes in which errors are written.
const (
	ShapeFlat   = "flat"   // {"error": "code"}, RFC 6749 §5.2
	ShapeNested = "nested" // {"error": {"code": "code"}}
	ShapeOK     = "ok"     // {"ok": false, "error": "code"}
)

// Answers says what answers look like. The client needs none of it, since it
// reads every shape; the simulator does.
type Answers struct {
	Errors      string `yaml:"errors"`       // ShapeFlat if empty, ShapeNested or ShapeOK
	SpentCode   string `yaml:"spent_code"`   // for a spent refresh token; "invalid_grant" if empty
	SpentStatus int    `yaml:"spent_status"` // with it; 400 if 0
	// SpentMember is the member that holds SpentCode where that is no code but a
	// text, see [Error]; the code beside it is invalid_request. "": it is the code.
	SpentMember string `yaml:"spent_member"`
	// RefreshExpiry is the member that tells the refresh token's life; "": none.
	RefreshExpiry string `yaml:"refresh_expiry"`
}

// Env names environment variables.
type Env struct {
	Refresh string `yaml:"refresh"` // a refresh token to start from is looked for here
	Access  string `yaml:"access"`  // the access token is exported as this; "": no customary name
	// ShadowedBy lists variables that the provider's own tools prefer to
	// Access: with one of them set, the exported token is not used.
	ShadowedBy []string `yaml:"shadowed_by"`
}

// Whether a grant may serve others than the person who consented.
const (
	SharedAllowed    = "allowed"
	SharedOwnAccount = "own-account-only"
	SharedUnknown    = "unknown"
)

// Terms says what the provider allows, in our reading; it is no legal advice.
type Terms struct {
	SharedUse string `yaml:"shared_use"` // SharedUnknown if empty
	Summary   string `yaml:"summary"`
	URL       string `yaml:"url"`
	Checked   string `yaml:"checked"` // date of the text that was read, 2006-01-02
}

// How well a statement is founded.
const (
	Confirmed  = "confirmed"  // two or more independent sources
	Single     = "single"     // one source, the vendor's own or not
	Disputed   = "disputed"   // sources disagree; the cautious side was taken
	Unverified = "unverified" // general knowledge
)

// Source is where statements of a preset come from.
type Source struct {
	Name       string `yaml:"name"`
	URL        string `yaml:"url"`
	Says       string `yaml:"says"`
	Confidence string `yaml:"confidence"` // Confirmed, Single, Disputed or Unverified
}

// Values of [Preset.Tested].
const (
	TestedLive       = "live"       // against the provider itself
	TestedTranscript = "transcript" // against transcripts written from the sources
	TestedDocumented = "documented" // not run; written from documentation
)

// Behaviour is what the engine must know.
func (p Preset) Behaviour() grant.Behaviour {
	b := grant.Behaviour{
		Rotates:       p.Refresh.Rotates == nil || *p.Refresh.Rotates,
		RevokesAccess: p.Refresh.RevokesAccess,
		Life:          time.Duration(p.Lifetimes.Access),
	}
	switch p.Refresh.Reuse {
	case "grace":
		b.Reuse, b.Grace = grant.ReuseGrace, time.Duration(p.Refresh.Grace)
	case "safe":
		b.Reuse = grant.ReuseSafe
	}
	switch p.Refresh.Sibling {
	case "same":
		b.Sibling = grant.SiblingSame
	case "valid":
		b.Sibling = grant.SiblingValid
	}
	return b
}

// Codes returns the listed error codes and what they say of the token.
func (p Preset) Codes() map[string]grant.Fate {
	m := make(map[string]grant.Fate)
	for _, e := range p.Errors {
		if f, ok := fate(e.Fate); ok && e.Code != "" {
			m[e.Code] = f
		}
	}
	return m
}

// Statuses returns the listed HTTP statuses and what they say of the token.
func (p Preset) Statuses() map[int]grant.Fate {
	m := make(map[int]grant.Fate)
	for _, e := range p.Errors {
		if f, ok := fate(e.Fate); ok && e.Status != 0 {
			m[e.Status] = f
		}
	}
	return m
}

// fate reads a word as [grant.Fate.String] writes it.
func fate(word string) (grant.Fate, bool) {
	for _, f := range []grant.Fate{grant.InDoubt, grant.Unspent, grant.Refused, grant.Rejected} {
		if f.String() == word {
			return f, true
		}
	}
	return grant.InDoubt, false
}

// Profile is what a simulated authorization server needs to behave like the
// provider.
type Profile struct {
	Behaviour              grant.Behaviour
	Access, Idle, Absolute time.Duration // lives; 0: not known
	Path                   string        // of the token endpoint, placeholders filled or left
	ClientID               string        // "": any
	Auth                   string        // how a secret is expected
	Secret                 string        // SecretNever, SecretOptional or SecretRequired
	Body                   string        // the body that is understood
	ScopeSeparator         string
	ErrorShape             string // ShapeFlat, ShapeNested or ShapeOK
	SpentCode              string
	SpentStatus            int
	SpentMember            string // "": SpentCode is the error code
	RefreshExpiry          string // member that tells the refresh token's life; "": none
}

// Profile returns the preset as a simulator sees it, defaults filled in.
func (p Preset) Profile() Profile {
	f := Profile{
		Behaviour: p.Behaviour(),
		Access:    time.Duration(p.Lifetimes.Access),
		Idle:      time.Duration(p.Lifetimes.Idle),
		Absolute:  time.Duration(p.Lifetimes.Absolute),
		ClientID:  p.Client.ID,
		Auth:      or(p.Client.Auth, AuthBasic),
		Secret:    or(p.Client.Secret, SecretOptional),
		Body:      or(p.Request.Body, BodyForm), ScopeSeparator: or(p.Request.ScopeSeparator, " "),
		ErrorShape: or(p.Answers.Errors, ShapeFlat), SpentCode: or(p.Answers.SpentCode, "invalid_grant"),
		SpentStatus: p.Answers.SpentStatus, SpentMember: p.Answers.SpentMember, RefreshExpiry: p.Answers.RefreshExpiry,
	}
	if f.Secret == SecretNever {
		f.Auth = AuthNone
	}
	if f.SpentStatus == 0 {
		f.SpentStatus = 400
	}
	if u, err := url.Parse(p.fillDefaults()); err == nil {
		f.Path = u.Path
	}
	return f
}

// fillDefaults returns the token URL with the placeholders that have a default
// filled in and the name of the others in their place.
func (p Preset) fillDefaults() string {
	s := p.TokenURL
	for name, v := range p.Vars {
		s = strings.ReplaceAll(s, "{"+name+"}", or(v.Default, name))
	}
	return s
}

// varNames returns the names of the placeholders in order.
func (p Preset) varNames() []string {
	names := make([]string, 0, len(p.Vars))
	for n := range p.Vars {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
