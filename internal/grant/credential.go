package grant

import (
	"slices"
	"strings"
	"time"
)

// Limits of the lists in a [Credential].
const (
	MaxSpent  = 8         // digests of refresh tokens presented
	MaxEvents = 16        // events kept
	MaxRaw    = 64 * 1024 // bytes of an unreadable reply kept in Raw
)

// Version is a store's opaque revision of a record and the operand of
// [Store.Swap]. The empty Version stands for "no record".
type Version string

// AccessToken is RFC 6749 §1.4 with what its user needs to know.
type AccessToken struct {
	Grant      ID
	Generation uint64
	Value      Secret
	Type       string   // token_type as the provider spells it, usually "Bearer"
	Scope      []string // as granted; empty when the provider did not say
	// Expiry is the end of life by the clock of the machine that asked. It is
	// never zero on a stored token: where the provider gave no expires_in, it
	// is an assumption and ExpiryAssumed is set.
	Expiry        time.Time
	ExpiryAssumed bool
}

// TokenSet is what one token response yields (RFC 6749 §5.1).
type TokenSet struct {
	Access AccessToken
	// Refresh is zero in a [Connection]'s result when the reply had none, which
	// means that the presented one stays (RFC 6749 §6).
	Refresh Secret
	// RefreshExpiry is when the refresh token ends, however often it is used;
	// zero when the provider does not say.
	RefreshExpiry time.Time
	// ObtainedAt is the start of the request that yielded the set. Lives are
	// counted from it, so that a slow reply never makes a token look younger.
	ObtainedAt time.Time
}

// Life is the whole life of the access token as issued.
func (t TokenSet) Life() time.Duration { return t.Access.Expiry.Sub(t.ObtainedAt) }

// Lease says who may spend which refresh token, and until when nobody else may.
type Lease struct {
	Holder string    // unique name of one attempt
	Until  time.Time // by the holder's clock
	TTL    time.Duration
	Spends string // digest of the refresh token
}

// Doubt says that a refresh token was presented and nobody knows what became
// of it. It is counted before each send, and it outlives every lease. A doubt
// about another token than the current one is none; see [Credential.InDoubt].
type Doubt struct {
	Spends      string // digest of the refresh token
	Sends       uint
	First, Last time.Time // start of the Swap that counted the first and the last send
}

// Binding is where a chain of refresh tokens belongs: presenting it to another
// endpoint or as another client would give it away or burn it.
type Binding struct{ TokenURL, ClientID string }

// Account is whose consent a grant is, as far as the provider told. It is shown,
// and compared when somebody signs in anew; it proves nothing.
type Account struct {
	// ID names the account at the provider for good: the kind of the name, a
	// colon, and the name, as in "sub:248289761001".
	ID   string
	Name string // for people, such as an email address
}

// Same compares two accounts. It knows nothing (known is false) where one of
// them says nothing that the other says as well.
func (a Account) Same(b Account) (same, known bool) {
	kind := func(a Account) string { k, _, _ := strings.Cut(a.ID, ":"); return k }
	switch {
	case a.ID != "" && b.ID != "" && kind(a) == kind(b):
		return a.ID == b.ID, true
	case a.Name != "" && b.Name != "":
		return strings.EqualFold(a.Name, b.Name), true
	}
	return false, false
}

func (a Account) String() string {
	switch {
	case a.Name != "" && a.ID != "":
		return a.Name + " (" + a.ID + ")"
	case a.Name != "":
		return a.Name
	}
	return a.ID
}

// State is the life of a consent.
type State uint8

// States. The zero value is Live, and Retired is written by logout only.
const (
	Live State = iota
	NeedsConsent
	Retired
)

func (s State) String() string {
	switch s {
	case Live:
		return "live"
	case NeedsConsent:
		return "needs consent"
	case Retired:
		return "retired"
	}
	return "unknown"
}

// Event is one line of a grant's story, written only by Swaps that happen
// anyway.
type Event struct {
	At   time.Time
	By   string // a label of who did it: a run, a host, a person's command
	What string // one of the Event constants
	Note string // cause in a few words, never a token nor provider text
}

// What happened, for [Event.What].
const (
	EventAdopted      = "adopted"       // a refresh token came from outside
	EventAttempt      = "attempt"       // a lease was taken, one send counted
	EventRefreshed    = "refreshed"     // a token set was saved
	EventInDoubt      = "in doubt"      // the reply was lost
	EventUnreadable   = "unreadable"    // a reply was kept that could not be read
	EventNeedsConsent = "needs consent" // the provider rejected the token
	EventRepaired     = "repaired"      // a person decided
	EventRetired      = "retired"       // logged out
)

// Credential is the record of a grant: the chain of its refresh tokens and
// what the protocol's rules need to keep it whole. Nothing else belongs here:
// a counter that wins a swap must never cost a rotation.
//
// A Credential is a value, but its slices, maps and pointers are shared on
// assignment; change a copy made by [Credential.Clone].
type Credential struct {
	Grant    ID
	Provider string // name of the preset, or "custom"
	Consent  string // random id per login, import or adoption
	// Replaces is the Consent of the record that this consent was written over;
	// "" where there was none. It tells an unsaved sign-in from a stray record.
	Replaces string
	Account  Account
	Bind     Binding

	// Generation counts token sets: it grows by one with each success and each
	// new consent, and never restarts.
	Generation uint64
	Tokens     TokenSet

	Lease *Lease
	Doubt *Doubt
	// Writer is the unique id of the Swap that made this content; it is kept
	// when the same content is put on another version.
	Writer string

	Seeds []string // digests of all refresh tokens adopted from outside
	Spent []string // digests of the last MaxSpent refresh tokens presented
	Raw   Secret   // a reply that may hold a token and could not be read

	Events []Event // the last MaxEvents, oldest first
	State  State
	Reason string // why State is what it is, for people

	// Extra holds members of the stored form that this version of the program
	// does not know: raw JSON by JSON pointer (RFC 6901). They survive.
	Extra map[string]string
}

// Clone returns a copy that shares nothing mutable with c.
func (c Credential) Clone() Credential {
	if c.Lease != nil {
		l := *c.Lease
		c.Lease = &l
	}
	if c.Doubt != nil {
		d := *c.Doubt
		c.Doubt = &d
	}
	c.Tokens.Access.Scope = slices.Clone(c.Tokens.Access.Scope)
	c.Seeds = slices.Clone(c.Seeds)
	c.Spent = slices.Clone(c.Spent)
	c.Events = slices.Clone(c.Events)
	if c.Extra != nil {
		extra := make(map[string]string, len(c.Extra))
		for k, v := range c.Extra {
			extra[k] = v
		}
		c.Extra = extra
	}
	return c
}

// InDoubt reports whether the fate of the current refresh token is unknown.
func (c Credential) InDoubt() bool {
	return c.Doubt != nil && c.Doubt.Spends == c.Tokens.Refresh.Digest()
}

// AddSpent notes that the refresh token with this digest is being presented.
func (c *Credential) AddSpent(digest string) {
	c.Spent = append(slices.DeleteFunc(slices.Clone(c.Spent), func(s string) bool { return s == digest }), digest)
	if n := len(c.Spent); n > MaxSpent {
		c.Spent = c.Spent[n-MaxSpent:]
	}
}

// AddEvent appends to the story and forgets the oldest line beyond MaxEvents.
func (c *Credential) AddEvent(e Event) {
	c.Events = append(slices.Clone(c.Events), e)
	if n := len(c.Events); n > MaxEvents {
		c.Events = c.Events[n-MaxEvents:]
	}
}

// Knows reports whether a refresh token with this digest has been seen by the
// grant: adopted, presented lately, or current. A secret that seeded a grant
// keeps its first value for ever, so an old value must never be taken for news.
func (c Credential) Knows(digest string) bool {
	return slices.Contains(c.Seeds, digest) || slices.Contains(c.Spent, digest) ||
		c.Tokens.Refresh.Digest() == digest
}
