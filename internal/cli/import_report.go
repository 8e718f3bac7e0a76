package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"evergrant/internal/engine"
	"evergrant/internal/grant"
)

// importReport is the JSON report of import. It never holds a token.
type importReport struct {
	Grant         grant.ID `json:"grant"`
	Provider      string   `json:"provider"`
	Generation    uint64   `json:"generation"`
	Action        string   `json:"action"` // imported
	Replaced      bool     `json:"replaced"`
	Source        string   `json:"source"`
	From          string   `json:"from"`
	TokenURL      string   `json:"token_url"`
	ClientID      string   `json:"client_id"`
	Scope         []string `json:"scope"`
	ExpiresAt     *string  `json:"expires_at"` // RFC 3339; null: no access token was taken over
	ExpiresIn     *int64   `json:"expires_in"` // seconds
	AssumedExpiry bool     `json:"assumed_expiry"`
	ConsentEndsAt *string  `json:"consent_ends_at"` // null: unknown
	State         string   `json:"state"`
	Warnings      []string `json:"warnings"`
	Store         string   `json:"store"`
	Next          string   `json:"next"` // the command that uses the grant
}

func newImportReport(s *session, i *importing, done engine.Imported, now time.Time) *importReport {
	t := i.found.Tokens
	r := &importReport{
		Grant: i.id, Provider: i.target.name, Generation: done.Generation, Action: "imported", Replaced: done.Replaced,
		Source: i.source.Kind(), From: i.found.From, TokenURL: i.target.bind.TokenURL, ClientID: i.target.bind.ClientID,
		Scope: emptyNotNull(t.Access.Scope), AssumedExpiry: t.Access.ExpiryAssumed,
		State: grant.Live.String(), Store: s.place.location.String(),
		Next:      i.next,
		ExpiresAt: optional(t.Access.Expiry), ConsentEndsAt: optional(t.RefreshExpiry),
	}
	if r.ExpiresAt != nil {
		left := int64(t.Access.Expiry.Sub(now) / time.Second)
		r.ExpiresIn = &left
	}
	return r
}

// line is the same report for a person.
func (r *importReport) line() string {
	text := fmt.Sprintf("%s: imported from %s, generation %d; its tokens belong to %s", r.Grant, r.From, r.Generation, r.TokenURL)
	switch {
	case r.ExpiresAt == nil:
		text += "; the first refresh gets an access token"
	case *r.ExpiresIn <= 0:
		text += "; the access token has ended, the first refresh gets another"
	default:
		text += fmt.Sprintf("; the access token is good until %s (%s)", *r.ExpiresAt, span(time.Duration(*r.ExpiresIn)*time.Second))
	}
	if r.ConsentEndsAt != nil {
		text += "; the consent ends at " + *r.ConsentEndsAt
	}
	return text
}

// useOf is the command that gets an access token of the grant: what was said for
// the import has to be said again, because a record holds no settings, unless it is in the
// configuration.
func (i *importing) useOf(flags *pflag.FlagSet, o *importOptions) string {
	words := []string{"evergrant", "refresh", string(i.id)}
	add := func(flag, value string) {
		if value != "" && !slices.Contains(i.inFile, flag) {
			words = append(words, "--"+flag, shellWord(value))
		}
	}
	if i.target.preset != "" {
		add("provider", or(o.client.provider, i.target.preset))
	}
	if i.target.bind.TokenURL != i.preset.TokenURL && len(o.client.params) == 0 {
		add("token-url", i.target.bind.TokenURL)
	}
	for _, p := range o.client.params {
		add("param", p)
	}
	if i.target.bind.ClientID != i.preset.Client.ID {
		add("client-id", i.target.bind.ClientID)
	}
	if i.found.SecretAt != "" && !i.configured.Has("client-secret-env") && !i.configured.Has("client-secret-file") {
		add("client-secret-env", "VAR")
	}
	add("store", o.store.url)
	add("config", flags.Lookup("config").Value.String())
	return strings.Join(words, " ")
}

// configureImport fills the flags that were left open with what the configuration says of
// the grant: of the one that is named, else of the preset that the source's login
// belongs to.
func (a *app) configureImport(i *importing, flags *pflag.FlagSet, args []string, o *importOptions) error {
	if len(a.config.Grants) == 0 {
		return nil
	}
	preset := or(o.client.provider, a.env.get("EVERGRANT_PROVIDER"))
	if preset == "" && i.found != nil {
		preset = i.found.Provider
	}
	name, err := a.grantOf(args, preset)
	if err != nil {
		return err
	}
	g, ok := a.config.Grant(string(name))
	if !ok {
		a.unconfigured = string(name)
		return nil
	}
	i.id, i.configured = name, g
	said := map[string]bool{}
	flags.Visit(func(f *pflag.Flag) { said[f.Name] = true })
	if err := a.apply(flags, g); err != nil {
		return err
	}
	flags.Visit(func(f *pflag.Flag) {
		if !said[f.Name] {
			i.inFile = append(i.inFile, f.Name)
		}
	})
	return nil
}

// shellWord writes a word as a POSIX shell reads it back.
func shellWord(s string) string {
	if s != "" && strings.Trim(s, letters+"0123456789-._/+@%:,=") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
