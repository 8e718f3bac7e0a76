package simulator

import (
	"slices"
	"time"

	"evergrant/internal/grant"
)

// Outcome is what became of one presentation of a refresh token.
type Outcome string

const (
	Rotated         Outcome = "rotated"               // answered with a new refresh token
	Refreshed       Outcome = "refreshed"             // answered, and the refresh token stays
	ReplayedInGrace Outcome = "replayed in grace"     // spent, and answered again
	ReuseDetected   Outcome = "reuse detected"        // spent: the family was revoked
	Unknown         Outcome = "unknown"               // never issued here
	Refused         Outcome = "refused"               // issued here, and not good any more or not for this client
	DroppedBefore   Outcome = "dropped before acting" // the request was lost; nothing happened
)

// Reason says why a presentation failed.
type Reason string

const (
	ReasonUnknown  Reason = "unknown"  // never issued here
	ReasonClient   Reason = "client"   // issued to another client
	ReasonExpired  Reason = "expired"  // idle limit or end of consent
	ReasonRevoked  Reason = "revoked"  // ended by its owner or an administrator
	ReasonReused   Reason = "reused"   // spent, or its family ended because of reuse
	ReasonReplaced Reason = "replaced" // a second answer in the grace took its place
	ReasonScope    Reason = "scope"    // asked for more than was granted
)

// Sent is what became of the answer to a presentation, as far as the server
// knows.
type Sent string

const (
	SentWhole   Sent = ""        // written whole; nobody knows whether it was read
	SentDamaged Sent = "damaged" // something was written that is not the answer, or not all of it
	SentNothing Sent = "lost"    // acted, then dropped: not a byte of the answer was written
)

// Presentation is one line of the ledger: one refresh token, shown once. It
// holds digests ([grant.Secret.Digest]) and never a token.
type Presentation struct {
	At         time.Time `json:"at"`
	Client     string    `json:"client"`
	Token      string    `json:"token"`            // digest; "" when the request was not read
	Family     string    `json:"family,omitempty"` // "" for an unknown token
	Generation uint64    `json:"generation,omitempty"`
	Outcome    Outcome   `json:"outcome"`
	Reason     Reason    `json:"reason,omitempty"`
	Reply      Sent      `json:"reply,omitempty"`
}

// Answered reports whether the provider issued tokens, whether or not the
// answer arrived.
func (p Presentation) Answered() bool {
	return p.Outcome == Rotated || p.Outcome == Refreshed || p.Outcome == ReplayedInGrace
}

// Standing is what the provider knows of one family at one moment.
type Standing struct {
	ID         string         `json:"id"`
	Client     string         `json:"client"`
	Scope      []string       `json:"scope,omitempty"`
	Started    time.Time      `json:"started"`
	Alive      bool           `json:"alive"`
	Ended      Reason         `json:"ended,omitempty"`
	Generation uint64         `json:"generation"`       // of the newest refresh token
	Newest     string         `json:"newest"`           // digest of the newest refresh token
	Access     []string       `json:"access,omitempty"` // digests of living access tokens, oldest first
	Refreshes  map[uint64]int `json:"refreshes"`        // answers given, by generation of the presented token
}

// Ledger is a snapshot of all presentations, in order, and of all families.
type Ledger struct {
	Now time.Time `json:"now"`
	// Pending counts the token requests that a [Server] has read and holds back
	// for [Fault.Before].
	Pending       int            `json:"pending"`
	Presentations []Presentation `json:"presentations"`
	Families      []Standing     `json:"families"`
}

// Of returns the presentations of one refresh token, by digest.
func (l Ledger) Of(digest string) []Presentation {
	var of []Presentation
	for _, p := range l.Presentations {
		if p.Token == digest {
			of = append(of, p)
		}
	}
	return of
}

// Family returns the standing of one family; false when there is none.
func (l Ledger) Family(id string) (Standing, bool) {
	i := slices.IndexFunc(l.Families, func(s Standing) bool { return s.ID == id })
	if i < 0 {
		return Standing{}, false
	}
	return l.Families[i], true
}

// Ledger returns a snapshot that shares nothing with the model.
func (m *Model) Ledger(now time.Time) Ledger {
	l := Ledger{Now: now, Presentations: append([]Presentation{}, m.ledger...), Families: []Standing{}}
	for _, f := range m.families {
		l.Families = append(l.Families, m.standing(now, f))
	}
	return l
}

// Standing returns what is known of one family; false when there is none.
func (m *Model) Standing(now time.Time, id string) (Standing, bool) {
	f := m.byID[id]
	if f == nil {
		return Standing{}, false
	}
	return m.standing(now, f), true
}

func (m *Model) standing(now time.Time, f *family) Standing {
	s := Standing{
		ID: f.id, Client: f.client, Scope: slices.Clone(f.scope), Started: f.started, Alive: m.alive(now, f), Ended: f.ended,
		Generation: f.newest.generation, Newest: f.newest.value.Digest(), Refreshes: map[uint64]int{},
	}
	if !s.Alive && s.Ended == "" {
		s.Ended = ReasonExpired
	}
	for _, a := range f.access {
		if m.accessGood(now, a) {
			s.Access = append(s.Access, a.value.Digest())
		}
	}
	for g, n := range f.refreshes {
		s.Refreshes[g] = n
	}
	return s
}

// Presentations returns every presentation of one refresh token, by digest.
func (m *Model) Presentations(digest string) []Presentation {
	var of []Presentation
	for _, i := range m.byDigest[digest] {
		of = append(of, m.ledger[i])
	}
	return of
}

// FamilyOf names the family of a refresh token, by digest; "" if never issued.
func (m *Model) FamilyOf(digest string) string {
	if t := m.refresh[digest]; t != nil {
		return t.family.id
	}
	return ""
}

// FamilyAlive reports whether the family's newest refresh token can still be
// used. It is false for a family that does not exist.
func (m *Model) FamilyAlive(now time.Time, id string) bool {
	f := m.byID[id]
	return f != nil && m.alive(now, f)
}

// Newest returns the refresh token issued last in the family, and its
// generation. It is zero for a family that does not exist.
func (m *Model) Newest(id string) (grant.Secret, uint64) {
	f := m.byID[id]
	if f == nil {
		return grant.Secret{}, 0
	}
	return f.newest.value, f.newest.generation
}

// Refreshes counts the answers given to tokens of one generation.
func (m *Model) Refreshes(id string, generation uint64) int {
	if f := m.byID[id]; f != nil {
		return f.refreshes[generation]
	}
	return 0
}

// AccessValid reports whether a protected resource accepts the access token.
func (m *Model) AccessValid(now time.Time, access grant.Secret) bool {
	a := m.access[access.Digest()]
	return a != nil && m.accessGood(now, a)
}

// NoteDropped notes a presentation that was lost before the provider acted.
// token is zero when the request was not even read. It returns the line.
func (m *Model) NoteDropped(now time.Time, client string, token grant.Secret) int {
	p := Presentation{At: now, Client: client, Token: token.Digest(), Outcome: DroppedBefore, Reply: SentNothing}
	if t := m.refresh[p.Token]; t != nil {
		p.Family, p.Generation = t.family.id, t.generation
	}
	return m.note(p)
}

// NoteSent notes what became of the answer to the presentation on that line.
func (m *Model) NoteSent(line int, s Sent) { m.ledger[line].Reply = s }

// RevokeFamily ends a family for a reason other than reuse: its owner or an
// administrator did it. It reports whether there was a living one.
func (m *Model) RevokeFamily(now time.Time, id string) bool {
	f := m.byID[id]
	if f == nil || !m.alive(now, f) {
		return false
	}
	f.ended = ReasonRevoked
	return true
}

// Revoke is RFC 7009 for a token of that client: a refresh token takes its
// family along (§2.1), an access token goes alone. A token that is not known is
// no error (§2.2); false means that it belongs to another client.
func (m *Model) Revoke(client string, token grant.Secret) bool {
	digest := token.Digest()
	if t := m.refresh[digest]; t != nil {
		if t.family.client != client {
			return false
		}
		if t.family.ended == "" {
			t.family.ended = ReasonRevoked
		}
	}
	if a := m.access[digest]; a != nil {
		if a.family.client != client {
			return false
		}
		a.ended = true
	}
	return true
}

// Token describes a living token to RFC 7662.
type Token struct {
	Kind   Kind
	Client string
	Family string
	Scope  []string
	Expiry time.Time // zero: none
}

// Introspect describes a token that would be accepted now; false for others.
func (m *Model) Introspect(now time.Time, token grant.Secret) (Token, bool) {
	digest := token.Digest()
	if a := m.access[digest]; a != nil && m.accessGood(now, a) {
		return Token{KindAccess, a.family.client, a.family.id, slices.Clone(a.scope), a.expires}, true
	}
	t := m.refresh[digest]
	if t == nil || !m.Usable(now, token) {
		return Token{}, false
	}
	d := Token{Kind: KindRefresh, Client: t.family.client, Family: t.family.id, Scope: slices.Clone(t.family.scope)}
	if left := m.refreshLeft(now, t); left > 0 {
		d.Expiry = now.Add(left)
	}
	return d, true
}

func (m *Model) note(p Presentation) int {
	m.ledger = append(m.ledger, p)
	line := len(m.ledger) - 1
	m.byDigest[p.Token] = append(m.byDigest[p.Token], line)
	return line
}

func (m *Model) alive(now time.Time, f *family) bool {
	return f.ended == "" && !m.consentOver(now, f) && !m.idle(now, f.newest)
}

func (m *Model) consentOver(now time.Time, f *family) bool {
	return m.rules.ConsentLife > 0 && now.Sub(f.started) >= m.rules.ConsentLife
}

func (m *Model) idle(now time.Time, t *refreshToken) bool {
	return m.rules.IdleLimit > 0 && now.Sub(t.lastUsed) >= m.rules.IdleLimit
}

func (m *Model) living(now time.Time, a *accessToken) bool { return !a.ended && now.Before(a.expires) }

// accessGood: an access token ends with its family when that was revoked, and
// lives on to its expiry when the refresh token merely grew too old.
func (m *Model) accessGood(now time.Time, a *accessToken) bool {
	return m.living(now, a) && a.family.ended == ""
}
