package cli

import (
	"fmt"
	"time"

	"evergrant/internal/engine"
	"evergrant/internal/grant"
	"evergrant/internal/oauth"
)

// loginReport is the JSON report of login. It never holds a token.
type loginReport struct {
	Grant         grant.ID       `json:"grant"`
	Provider      string         `json:"provider"`
	Generation    uint64         `json:"generation"`
	Action        string         `json:"action"` // signed_in
	Way           string         `json:"way"`    // browser, paste or device
	Replaced      bool           `json:"replaced"`
	Account       *accountReport `json:"account"` // null: the provider did not tell
	TokenURL      string         `json:"token_url"`
	ClientID      string         `json:"client_id"`
	Scope         []string       `json:"scope"`
	ExpiresAt     *string        `json:"expires_at"` // RFC 3339; null: there is no access token
	ExpiresIn     *int64         `json:"expires_in"` // seconds
	ConsentEndsAt *string        `json:"consent_ends_at"`
	State         string         `json:"state"`
	Warnings      []string       `json:"warnings"`
	Store         string         `json:"store"`

	*Verdict // of code 7; absent from a success

	saved, nextEnds bool
}

// accountReport is whose consent it is. Nothing in it is proven.
type accountReport struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	From string `json:"from"` // id_token, answer or userinfo
}

func newLoginReport(s *session, l loginPlan, issued oauth.Issued, who oauth.Identity, done engine.Imported, now time.Time) loginReport {
	t := issued.Tokens
	r := loginReport{
		Grant: l.id, Provider: l.target.name, Generation: done.Generation, Action: "signed_in", Way: l.way.String(), Replaced: done.Replaced,
		TokenURL: l.target.bind.TokenURL, ClientID: l.target.bind.ClientID, Scope: emptyNotNull(t.Access.Scope),
		ExpiresAt: optional(t.Access.Expiry), ConsentEndsAt: optional(t.RefreshExpiry), State: grant.Live.String(), Store: s.place.location.String(),
		nextEnds: l.target.behaviour.RevokesAccess,
	}
	if who.Account != (grant.Account{}) {
		r.Account = &accountReport{who.Account.ID, who.Account.Name, who.From}
	}
	if r.ExpiresAt != nil {
		left := int64(t.Access.Expiry.Sub(now) / time.Second)
		r.ExpiresIn = &left
	}
	return r
}

func (a *app) tellLogin(r loginReport, failed error, o loginOptions) error {
	if o.json {
		if failed != nil {
			v := verdictOf(failed)
			r.Verdict = &v
		}
		r.Warnings = emptyNotNull(a.warned)
		a.reported = true
		if err := printJSON(a.stdout, r); err != nil && failed == nil {
			return &deliveryError{[]error{err}}
		}
		return failed
	}
	if failed == nil {
		a.console.notef("%s", r.line())
	}
	return failed
}

// line is the same report for a person.
func (r loginReport) line() string {
	text := fmt.Sprintf("%s: signed in", r.Grant)
	if r.Account != nil {
		who := grant.Account{ID: r.Account.ID, Name: r.Account.Name}
		text += fmt.Sprintf(" as %s", who)
	} else {
		text += "; the provider does not tell whose account it is"
	}
	text += fmt.Sprintf("; generation %d is saved in %s", r.Generation, r.Store)
	if r.ExpiresAt != nil {
		text += fmt.Sprintf(", the access token is good until %s (%s)%s", *r.ExpiresAt, span(time.Duration(*r.ExpiresIn)*time.Second), orNext(r.nextEnds))
	}
	if r.ConsentEndsAt != nil {
		text += "; the consent ends at " + *r.ConsentEndsAt
	}
	return text
}
