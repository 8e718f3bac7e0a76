package simulator

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"evergrant/internal/grant"
)

// Kind says which token a [Model] asks its caller for.
type Kind uint8

const (
	KindAccess  Kind = iota // RFC 6749 §1.4
	KindRefresh             // RFC 6749 §1.5
)

// Rules are what a provider does with refresh tokens. All durations are by the
// provider's clock. The zero value is [Strict].
type Rules struct {
	// Behaviour's zero value stands for the strictest provider: it rotates and
	// a spent token revokes the family. A provider that does not rotate is
	// described by Reuse: grant.ReuseSafe, or by any other non-zero member.
	// Life is ignored here; see AccessLife.
	Behaviour   grant.Behaviour
	AccessLife  time.Duration // life of an access token; 0: one hour
	IdleLimit   time.Duration // a refresh token unused for this long ends; 0: never
	ConsentLife time.Duration // absolute end of a family, however often it is used; 0: never
	// GraceLastOnly ends the grace of a spent token as soon as one of its
	// successors was used, as Auth0 does.
	GraceLastOnly bool
	// RotateAfter keeps a refresh token until it is this old, as QuickBooks
	// does; 0: each refresh rotates.
	RotateAfter time.Duration
	// OmitUnchanged leaves a refresh token that did not change out of the reply
	// (RFC 6749 §6 allows both).
	OmitUnchanged bool
}

// Strict is the provider that forgives nothing and says little.
func Strict() Rules {
	return Rules{
		Behaviour:  grant.Behaviour{Rotates: true, Reuse: grant.ReuseFatal},
		AccessLife: time.Hour,
	}
}

func (r Rules) withDefaults() Rules {
	if r.Behaviour == (grant.Behaviour{}) {
		r.Behaviour = Strict().Behaviour
	}
	if r.AccessLife == 0 {
		r.AccessLife = Strict().AccessLife
	}
	return r
}

func (r Rules) check() error {
	for _, d := range []time.Duration{r.Behaviour.Grace, r.AccessLife, r.IdleLimit, r.ConsentLife, r.RotateAfter} {
		if d < 0 {
			return errors.New("simulator: a duration in the rules is negative")
		}
	}
	if r.Behaviour.Rotates && (r.Behaviour.Reuse == grant.ReuseGrace) != (r.Behaviour.Grace > 0) {
		return fmt.Errorf("simulator: reuse %v and a grace of %v contradict each other", r.Behaviour.Reuse, r.Behaviour.Grace)
	}
	return nil
}

// Reply is what a successful token request yields, before it is put on a wire.
type Reply struct {
	Access  grant.Secret
	Refresh grant.Secret // zero: the presented one stays, and the reply has none
	// ExpiresIn is what is left of the access token's life.
	ExpiresIn time.Duration
	// RefreshExpiresIn is what is left of the refresh token's life, by the
	// nearer of the idle limit and the end of consent; 0: no end.
	RefreshExpiresIn time.Duration
	Scope            []string // of the access token
	Family           string
	Generation       uint64 // of the refresh token that counts from now on
}

// Result is the answer to one presentation. Family and Generation describe the
// presented token and are zero for an unknown one.
type Result struct {
	Outcome    Outcome
	Code       string // RFC 6749 §5.2; "" on success
	Reason     Reason // why it failed; "" on success
	Reply      Reply  // only on success
	Family     string
	Generation uint64
	Line       int // index of the presentation in the ledger
}

// OK reports whether tokens were issued.
func (r Result) OK() bool { return r.Code == "" }

// Model is the state of one provider's refresh tokens and the ledger of their
// presentations: a pure state machine. It does no I/O, starts nothing, and
// takes time and token texts from its caller, so that one seed gives one run.
// It is not safe for concurrent use; [Server] locks around it.
type Model struct {
	rules    Rules
	newToken func(Kind) string
	families []*family
	byID     map[string]*family
	refresh  map[string]*refreshToken // by digest
	access   map[string]*accessToken  // by digest
	ledger   []Presentation
	byDigest map[string][]int // lines of the ledger
}

type family struct {
	id, client string
	scope      []string
	started    time.Time
	ended      Reason // "" while nobody ended it; expiry is computed
	newest     *refreshToken
	access     []*accessToken // those that were living at the last issue
	refreshes  map[uint64]int // answers given, by generation of the presented token
}

type refreshToken struct {
	value            grant.Secret
	family           *family
	generation       uint64
	issued, lastUsed time.Time
	firstUse         time.Time // zero: not spent
	successors       []*refreshToken
	access           *accessToken // issued together with it
	replaced         bool
}

type accessToken struct {
	value      grant.Secret
	family     *family
	generation uint64
	scope      []string
	expires    time.Time
	ended      bool
}

// NewModel returns an empty provider. newToken yields the text of each token
// and must never repeat itself.
func NewModel(r Rules, newToken func(Kind) string) (*Model, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	if newToken == nil {
		return nil, errors.New("simulator: a model needs a source of tokens")
	}
	return &Model{
		rules: r.withDefaults(), newToken: newToken, byID: map[string]*family{},
		refresh: map[string]*refreshToken{}, access: map[string]*accessToken{}, byDigest: map[string][]int{},
	}, nil
}

// Rules returns the rules in force, defaults filled in.
func (m *Model) Rules() Rules { return m.rules }

// NewFamily records a consent and issues its first tokens, generation 1.
func (m *Model) NewFamily(now time.Time, client string, scope ...string) Reply {
	f := &family{
		id: fmt.Sprintf("family-%d", len(m.families)+1), client: client, scope: slices.Clone(scope),
		started: now, refreshes: map[uint64]int{},
	}
	m.families = append(m.families, f)
	m.byID[f.id] = f
	t := m.issueRefresh(now, f, 1)
	t.access = m.issueAccess(now, f, 1, f.scope)
	return m.reply(now, t, t.access)
}

// Refresh presents a refresh token as a client (RFC 6749 §6) and notes it in
// the ledger. scope narrows the access token; empty asks for all of it.
func (m *Model) Refresh(now time.Time, client string, token grant.Secret, scope ...string) Result {
	t := m.refresh[token.Digest()]
	outcome, reason := m.judge(now, client, t, scope)
	r := Result{Outcome: outcome, Reason: reason}
	switch reason {
	case "":
	case ReasonScope:
		r.Code = "invalid_scope"
	default:
		r.Code = "invalid_grant"
	}
	if t != nil {
		r.Family, r.Generation = t.family.id, t.generation
	}
	switch {
	case outcome == ReuseDetected:
		t.family.ended = ReasonReused
	case r.OK():
		if len(scope) == 0 {
			scope = t.family.scope
		}
		t.family.refreshes[t.generation]++
		r.Reply = m.issue(now, t, outcome, scope)
	}
	r.Line = m.note(Presentation{
		At: now, Client: client, Token: token.Digest(), Family: r.Family, Generation: r.Generation,
		Outcome: outcome, Reason: reason,
	})
	return r
}

// Usable reports whether presenting the token now would be answered with
// tokens. It changes nothing.
func (m *Model) Usable(now time.Time, token grant.Secret) bool {
	t := m.refresh[token.Digest()]
	if t == nil {
		return false
	}
	_, reason := m.judge(now, t.family.client, t, nil)
	return reason == ""
}

// judge decides what a presentation meets; it changes nothing. A reason other
// than "" means that no tokens are issued.
func (m *Model) judge(now time.Time, client string, t *refreshToken, scope []string) (Outcome, Reason) {
	if t == nil {
		return Unknown, ReasonUnknown
	}
	f := t.family
	switch {
	case f.client != client:
		return Refused, ReasonClient
	case f.ended != "":
		return Refused, f.ended
	case m.consentOver(now, f):
		return Refused, ReasonExpired
	case t.replaced:
		return Refused, ReasonReplaced
	}
	outcome := Rotated
	switch {
	case !t.firstUse.IsZero() && m.rules.Behaviour.Reuse == grant.ReuseGrace && m.inGrace(now, t):
		outcome = ReplayedInGrace
	case !t.firstUse.IsZero() && m.rules.Behaviour.Reuse != grant.ReuseSafe:
		return ReuseDetected, ReasonReused
	case m.idle(now, t):
		return Refused, ReasonExpired
	case !m.rules.Behaviour.Rotates || now.Sub(t.issued) < m.rules.RotateAfter:
		outcome = Refreshed
	}
	for _, s := range scope {
		if !slices.Contains(f.scope, s) {
			return Refused, ReasonScope
		}
	}
	return outcome, ""
}

func (m *Model) inGrace(now time.Time, t *refreshToken) bool {
	if now.Sub(t.firstUse) > m.rules.Behaviour.Grace {
		return false
	}
	used := func(s *refreshToken) bool { return !s.firstUse.IsZero() }
	return !m.rules.GraceLastOnly || !slices.ContainsFunc(t.successors, used)
}

// issue makes the tokens of an answer to t.
func (m *Model) issue(now time.Time, t *refreshToken, o Outcome, scope []string) Reply {
	f, b := t.family, m.rules.Behaviour
	t.lastUsed = now
	switch {
	case o == Refreshed:
		m.endAccess(f, func(*accessToken) bool { return b.RevokesAccess })
		r := m.reply(now, t, m.issueAccess(now, f, t.generation, scope))
		if m.rules.OmitUnchanged {
			r.Refresh = grant.Secret{}
		}
		return r
	case o == ReplayedInGrace && b.Sibling == grant.SiblingSame:
		s := t.successors[0]
		if !m.living(now, s.access) {
			s.access = m.issueAccess(now, f, s.generation, scope)
		}
		return m.reply(now, s, s.access)
	case o == ReplayedInGrace && b.Sibling == grant.SiblingReplaces:
		for _, s := range t.successors {
			m.replace(s)
		}
	}
	if t.firstUse.IsZero() {
		t.firstUse = now
	}
	siblingsStay := o == ReplayedInGrace && b.Sibling == grant.SiblingValid
	m.endAccess(f, func(a *accessToken) bool {
		return b.RevokesAccess && (!siblingsStay || a.generation <= t.generation)
	})
	s := m.issueRefresh(now, f, t.generation+1)
	t.successors = append(t.successors, s)
	s.access = m.issueAccess(now, f, s.generation, scope)
	return m.reply(now, s, s.access)
}

// replace ends a token, its access token and everything that came of it.
func (m *Model) replace(t *refreshToken) {
	t.replaced = true
	t.access.ended = true
	for _, s := range t.successors {
		m.replace(s)
	}
}

func (m *Model) issueRefresh(now time.Time, f *family, generation uint64) *refreshToken {
	t := &refreshToken{
		value: grant.NewSecret(m.newToken(KindRefresh)), family: f, generation: generation,
		issued: now, lastUsed: now,
	}
	m.refresh[t.value.Digest()] = t
	f.newest = t
	return t
}

func (m *Model) issueAccess(now time.Time, f *family, generation uint64, scope []string) *accessToken {
	a := &accessToken{
		value: grant.NewSecret(m.newToken(KindAccess)), family: f, generation: generation,
		scope: slices.Clone(scope), expires: now.Add(m.rules.AccessLife),
	}
	m.access[a.value.Digest()] = a
	f.access = slices.DeleteFunc(f.access, func(o *accessToken) bool { return !m.living(now, o) })
	f.access = append(f.access, a)
	return a
}

func (m *Model) endAccess(f *family, which func(*accessToken) bool) {
	for _, a := range f.access {
		if which(a) {
			a.ended = true
		}
	}
}

func (m *Model) reply(now time.Time, t *refreshToken, a *accessToken) Reply {
	return Reply{
		Access: a.value, Refresh: t.value, ExpiresIn: a.expires.Sub(now), RefreshExpiresIn: m.refreshLeft(now, t),
		Scope: slices.Clone(a.scope), Family: t.family.id, Generation: t.generation,
	}
}

func (m *Model) refreshLeft(now time.Time, t *refreshToken) time.Duration {
	idle, consent := m.rules.IdleLimit, m.rules.ConsentLife
	if idle > 0 {
		idle = t.lastUsed.Add(idle).Sub(now)
	}
	if consent > 0 {
		consent = t.family.started.Add(consent).Sub(now)
	}
	if idle > 0 && consent > 0 {
		return min(idle, consent)
	}
	return max(idle, consent)
}
