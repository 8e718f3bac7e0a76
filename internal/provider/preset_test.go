package provider_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"evergrant/internal/grant"
	"evergrant/internal/provider"
)

const day = 24 * time.Hour

func presets(t testing.TB) map[string]provider.Preset {
	t.Helper()
	m := make(map[string]provider.Preset)
	for _, name := range provider.Names() {
		p, err := provider.Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		m[name] = p
	}
	return m
}

// TestBehaviour says, apart from the presets, what their sources say of a
// refresh. Each row names its source; a fact that no source states is zero.
func TestBehaviour(t *testing.T) {
	t.Parallel()
	rows := map[string]grant.Behaviour{
		// Claude Code docs: one token used twice revoked the login. Whether a
		// refresh ends the access token is disputed; the cautious side.
		"claude": {Rotates: true, RevokesAccess: true, Life: 8 * time.Hour},
		// openai/codex manager.rs: refresh_token_reused; renewed after 8 days.
		"codex": {Rotates: true, Life: 8 * day},
		// Google, offline access: no refresh token in the answer.
		"google": {Reuse: grant.ReuseSafe, Life: time.Hour},
		// Microsoft, refresh tokens: old ones are not revoked by a refresh.
		"microsoft": {Rotates: true, Reuse: grant.ReuseSafe, Life: time.Hour},
		// GitHub: the refresh token and the old access token stop working.
		"github-app": {Rotates: true, RevokesAccess: true, Life: 8 * time.Hour},
		// GitLab: a refresh invalidates the existing access and refresh token.
		"gitlab": {Rotates: true, RevokesAccess: true, Life: 2 * time.Hour},
		// Slack: the refresh token is revoked, the access token is not mentioned.
		"slack": {Rotates: true, Life: 12 * time.Hour},
		// Atlassian, announcement: a leeway of 10 minutes. Staff: the access token
		// ends with the refresh token beside which it was issued.
		"atlassian": {Rotates: true, Reuse: grant.ReuseGrace, Grace: 10 * time.Minute, RevokesAccess: true, Life: time.Hour},
		// Xero staff: the old token for 30 minutes when the answer was lost.
		"xero": {Rotates: true, Reuse: grant.ReuseGrace, Grace: 30 * time.Minute, Life: 30 * time.Minute},
		// Intuit FAQ: the value changes; nothing is said of the old one.
		"quickbooks": {Rotates: true, Life: time.Hour},
		// Notion: a new refresh token; nothing is said of the old one, nor of lives.
		"notion": {Rotates: true},
		// Okta: 30 s by default.
		"okta": {Rotates: true, Reuse: grant.ReuseGrace, Grace: 30 * time.Second, Life: time.Hour},
		// nango.dev: the access token before it ends as well.
		"airtable": {Rotates: true, RevokesAccess: true, Life: time.Hour},
		// Auth0: a spent one ends the family; 86400 s.
		"auth0": {Rotates: true, Life: day},
		// Box: good for one use.
		"box": {Rotates: true, Life: time.Hour},
		// Amazon: rotation is a setting; the side that loses no login.
		"cognito": {Rotates: true, Life: time.Hour},
		// dexidp/dex: no reuse interval by default; 24 hours.
		"dex": {Rotates: true, Life: day},
		// discord-api-docs, issue 5942: each is good once; 604800 s.
		"discord": {Rotates: true, Life: 7 * day},
		// Dropbox: the refresh token is used again and again; four hours.
		"dropbox": {Reuse: grant.ReuseSafe, Life: 4 * time.Hour},
		// HubSpot: 30 minutes, the same refresh token.
		"hubspot": {Reuse: grant.ReuseSafe, Life: 30 * time.Minute},
		// Keycloak: Revoke Refresh Token is a setting; the side that loses no login.
		"keycloak": {Rotates: true, Life: 5 * time.Minute},
		// Linear: a lost answer may be asked for again for 30 minutes; 24 hours.
		"linear": {Rotates: true, Reuse: grant.ReuseGrace, Grace: 30 * time.Minute, Life: day},
		// LinkedIn: the refresh token keeps its end; 60 days.
		"linkedin": {Reuse: grant.ReuseSafe, Life: 60 * day},
		// Ory: single use, and the old access token becomes invalid.
		"ory": {Rotates: true, RevokesAccess: true, Life: time.Hour},
		// Salesforce: rotation is a setting; no life in the answer.
		"salesforce": {Rotates: true},
		// Spotify: whatever comes back is kept; one hour.
		"spotify": {Rotates: true, Life: time.Hour},
		// Twitch: it may change; about four hours.
		"twitch": {Rotates: true, Life: 4 * time.Hour},
		// X: a new one with each refresh; two hours.
		"x": {Rotates: true, Life: 2 * time.Hour},
		// Zoho: no refresh token in the answer; one hour.
		"zoho": {Reuse: grant.ReuseSafe, Life: time.Hour},
		// Zoom: only the latest works; one hour.
		"zoom": {Rotates: true, Life: time.Hour},
	}
	everyPreset(t, rows)
	for name, want := range rows {
		p, err := provider.Lookup(name)
		if err != nil {
			t.Error(err)
		} else if got := p.Behaviour(); got != want {
			t.Errorf("%s behaves as %+v, want %+v", name, got, want)
		}
	}
}

// everyPreset complains of presets without a row.
func everyPreset[V any](t *testing.T, rows map[string]V) {
	t.Helper()
	for _, name := range provider.Names() {
		if _, ok := rows[name]; !ok {
			t.Errorf("%s has no row", name)
		}
	}
}

func TestLifetimes(t *testing.T) {
	t.Parallel()
	rows := map[string][2]time.Duration{ // idle, absolute
		"claude": {0, 27 * day}, "codex": {}, "google": {180 * day, 0}, "microsoft": {90 * day, 0},
		"github-app": {183 * day, 0}, "gitlab": {}, "slack": {}, "atlassian": {90 * day, 365 * day},
		"xero": {60 * day, 0}, "quickbooks": {100 * day, 5 * 365 * day}, "notion": {}, "okta": {7 * day, 0},
		"airtable": {60 * day, 0}, "auth0": {0, 30 * day}, "box": {60 * day, 0}, "cognito": {0, 30 * day}, "dex": {},
		"discord": {}, "dropbox": {}, "hubspot": {}, "keycloak": {}, "linear": {}, "linkedin": {0, 365 * day},
		"ory": {30 * day, 0}, "salesforce": {}, "spotify": {0, 180 * day}, "twitch": {}, "x": {}, "zoho": {}, "zoom": {90 * day, 0},
	}
	everyPreset(t, rows)
	for name, want := range rows {
		p := presets(t)[name]
		if got := [2]time.Duration{time.Duration(p.Lifetimes.Idle), time.Duration(p.Lifetimes.Absolute)}; got != want {
			t.Errorf("%s: idle and absolute are %v, want %v", name, got, want)
		}
	}
}

// TestPresetsAreHonest holds every embedded preset to what a description of
// somebody else's server must have.
func TestPresetsAreHonest(t *testing.T) {
	t.Parallel()
	for name, p := range presets(t) {
		complain := func(format string, args ...any) { t.Errorf(name+": "+format, args...) }
		if len(p.Sources) < 2 {
			complain("has %d sources", len(p.Sources))
		}
		for _, s := range p.Sources {
			if !strings.HasPrefix(s.URL, "https://") {
				complain("source %q has no address", s.Name)
			}
		}
		if p.Tested != provider.TestedTranscript {
			complain("tested is %q; nobody ran it against the provider", p.Tested)
		}
		if p.Terms.Summary == "" || !strings.HasPrefix(p.Terms.URL, "https://") || p.Terms.SharedUse == "" {
			complain("terms are incomplete: %+v", p.Terms)
		}
		if (p.Terms.SharedUse == provider.SharedUnknown) != (p.Terms.Checked == "") {
			complain("terms are judged without a date, or dated without a judgment")
		}
		if p.Env.Refresh == "" || strings.HasPrefix(p.Env.Refresh, "GITHUB_") {
			complain("refresh variable is %q; it must be fit for a secret's name", p.Env.Refresh)
		}
		if len(p.Notes) == 0 {
			complain("has no notes")
		}
		for _, e := range p.Errors {
			if e.Means == "" {
				complain("error %s%d has no meaning for people", e.Code, e.Status)
			}
		}
		if _, ok := p.Request.Headers["User-Agent"]; ok {
			complain("sets a User-Agent")
		}
	}
}

// TestVendorsTerms: the two presets whose vendors restrict what others may do
// with their logins say so plainly, first-party ways first.
func TestVendorsTerms(t *testing.T) {
	t.Parallel()
	for name, want := range map[string][]string{
		"claude": {"own account", "own automation", "official Claude Code"},
		"codex":  {"own account", "not for public repositories", "not to call the token endpoint oneself"},
	} {
		p := presets(t)[name]
		if p.Terms.SharedUse != provider.SharedOwnAccount {
			t.Errorf("%s: shared use is %q", name, p.Terms.SharedUse)
		}
		for _, w := range want {
			if !strings.Contains(p.Terms.Summary, w) {
				t.Errorf("%s: the terms do not say %q", name, w)
			}
		}
	}
	first := presets(t)["claude"].Notes[0]
	at := -1
	for _, w := range []string{"workload identity federation", "claude setup-token", "API key"} {
		i := strings.Index(first, w)
		if i <= at {
			t.Errorf("claude: the first note does not name %q in its place: %s", w, first)
		}
		at = i
	}
}

func TestEnvironmentNames(t *testing.T) {
	t.Parallel()
	claude := presets(t)["claude"].Env
	if claude.Refresh != "CLAUDE_REFRESH_TOKEN" || claude.Access != "CLAUDE_CODE_OAUTH_TOKEN" ||
		!slices.Contains(claude.ShadowedBy, "ANTHROPIC_API_KEY") {
		t.Errorf("claude: %+v", claude)
	}
	seen := make(map[string]string)
	for name, p := range presets(t) {
		for _, v := range []string{p.Env.Refresh, p.Env.Access} {
			if v != "" && seen[v] != "" {
				t.Errorf("%s and %s share %s", name, seen[v], v)
			}
			seen[v] = name
		}
	}
}

// TestTranscriptsCover: each preset has a success and a spent token, what it
// lists of codes and statuses is played, and what it tells the simulator is
// what the transcripts show.
func TestTranscriptsCover(t *testing.T) {
	t.Parallel()
	played := make(map[string][]transcript)
	for _, x := range transcripts(t) {
		played[x.preset()] = append(played[x.preset()], x)
	}
	for name, p := range presets(t) {
		shows := make(map[string]int)
		codes := make(map[string]bool)
		profile := p.Profile()
		for _, x := range played[name] {
			shows[x.head["shows"]]++
			codes[x.expect["code"]] = true
			codes[x.expect["status"]] = true
			switch x.head["shows"] {
			case "success":
				// A server may repeat the presented token, or leave it out.
				if rotates := x.expect["refresh"] != "unchanged" && x.expect["refresh"] != x.settings["refresh-token"]; rotates != p.Behaviour().Rotates {
					t.Errorf("%s: rotates is %v, and the transcript shows %v", name, p.Behaviour().Rotates, rotates)
				}
				if has := x.expect["refresh-life"] != "none"; has != (profile.RefreshExpiry != "") ||
					has && !strings.Contains(x.reply, `"`+profile.RefreshExpiry+`"`) {
					t.Errorf("%s: refresh_expiry is %q, and the transcript shows another", name, profile.RefreshExpiry)
				}
			case "spent":
				if profile.SpentCode != x.expect["code"] || fmt.Sprint(profile.SpentStatus) != x.expect["status"] {
					t.Errorf("%s: a spent token is answered by %s with %d, and the transcript shows %s with %s", name,
						profile.SpentCode, profile.SpentStatus, x.expect["code"], x.expect["status"])
				}
				if m := profile.SpentMember; m != "" && !strings.Contains(x.reply, fmt.Sprintf("%q:%q", m, profile.SpentCode)) {
					t.Errorf("%s: a spent token is told in %s, and the transcript shows another", name, m)
				}
				if shape := shapeOf(x.reply); shape != profile.ErrorShape {
					t.Errorf("%s: errors are %s, and the transcript shows %s", name, profile.ErrorShape, shape)
				}
			}
		}
		if shows["success"] != 1 || shows["spent"] != 1 {
			t.Errorf("%s: %d transcripts show success and %d a spent token; it must be one each", name, shows["success"], shows["spent"])
		}
		for _, e := range p.Errors {
			if key := e.Code + strings.TrimPrefix(fmt.Sprint(e.Status), "0"); !codes[key] {
				t.Errorf("%s: no transcript shows %s", name, key)
			}
		}
	}
	if extra := len(played) - len(presets(t)); extra != 0 {
		t.Errorf("there are transcripts of %d presets and %d presets", len(played), len(presets(t)))
	}
}

func shapeOf(reply string) string {
	switch {
	case strings.Contains(reply, `"ok": false`):
		return provider.ShapeOK
	case strings.Contains(reply, `"error": {`):
		return provider.ShapeNested
	}
	return provider.ShapeFlat
}

// mutants are ways in which a preset can be wrong about the wire.
func mutants(p provider.Preset) map[string]provider.Preset {
	m := make(map[string]provider.Preset)
	put := func(name string, change func(*provider.Preset)) {
		q := p
		q.Request.Headers = maps.Clone(p.Request.Headers)
		q.Errors = slices.Clone(p.Errors)
		change(&q)
		m[name] = q
	}
	put("other host", func(q *provider.Preset) {
		q.TokenURL = strings.Replace(q.TokenURL, "https://", "https://x", 1)
	})
	put("other path", func(q *provider.Preset) { q.TokenURL += "s" })
	put("other body", func(q *provider.Preset) {
		q.Request.Body = map[string]string{"": "json", "form": "json", "json": "form"}[q.Request.Body]
	})
	put("superfluous parameter", func(q *provider.Preset) { q.Request.Params = map[string]string{"x": "y"} })
	if p.Client.ID != "" {
		put("other client id", func(q *provider.Preset) { q.Client.ID = "another" })
	}
	if p.Client.Secret != provider.SecretNever {
		put("other client authentication", func(q *provider.Preset) {
			q.Client.Auth = map[string]string{
				provider.AuthBasic: provider.AuthPost, provider.AuthPost: provider.AuthBasic,
			}[q.Client.Auth]
		})
	}
	for name := range p.Request.Headers {
		put("other header "+name, func(q *provider.Preset) { q.Request.Headers[name] = "other" })
	}
	if p.Request.ScopeSeparator != "" {
		put("other scope separator", func(q *provider.Preset) { q.Request.ScopeSeparator = " " })
	}
	for i, e := range p.Errors {
		for _, other := range []string{"rejected", "refused", "unspent", "in doubt"} {
			if other != e.Fate {
				put(e.Code+" means "+other, func(q *provider.Preset) { q.Errors[i].Fate = other })
			}
		}
	}
	return m
}

// TestMutantsAreCaught proves that the transcripts have teeth: whatever a
// preset says about the wire, saying otherwise fails one of them.
func TestMutantsAreCaught(t *testing.T) {
	t.Parallel()
	all := transcripts(t)
	killed := 0
	for name, p := range presets(t) {
		for mutant, q := range mutants(p) {
			caught := slices.ContainsFunc(all, func(x transcript) bool {
				return x.preset() == name && len(play(t, q, x)) > 0
			})
			if !caught {
				t.Errorf("%s: no transcript notices %q", name, mutant)
			}
			killed++
		}
	}
	if killed < 350 {
		t.Errorf("only %d mutants", killed)
	}
}

func TestProfile(t *testing.T) {
	t.Parallel()
	all := presets(t)
	want := provider.Profile{
		Behaviour: all["slack"].Behaviour(), Access: 12 * time.Hour, Path: "/api/oauth.v2.access",
		Auth: provider.AuthPost, Secret: provider.SecretRequired, Body: provider.BodyForm, ScopeSeparator: ",",
		ErrorShape: provider.ShapeOK, SpentCode: "invalid_refresh_token", SpentStatus: 200,
	}
	if got := all["slack"].Profile(); got != want {
		t.Errorf("slack: %+v, want %+v", got, want)
	}
	if got := all["claude"].Profile(); got.Auth != provider.AuthNone || got.Body != provider.BodyJSON ||
		got.ClientID == "" || got.Absolute != 27*day || got.RefreshExpiry != "refresh_token_expires_in" {
		t.Errorf("claude: %+v", got)
	}
	if got := all["microsoft"].Profile().Path; got != "/tenant/oauth2/v2.0/token" {
		t.Errorf("microsoft: path %q", got)
	}
	want = provider.Profile{
		Behaviour: grant.Behaviour{Rotates: true}, Auth: provider.AuthBasic, Secret: provider.SecretOptional,
		Body: provider.BodyForm, ScopeSeparator: " ", ErrorShape: provider.ShapeFlat,
		SpentCode: "invalid_grant", SpentStatus: 400,
	}
	if got := provider.Custom().Profile(); got != want {
		t.Errorf("custom: %+v, want %+v", got, want)
	}
}
