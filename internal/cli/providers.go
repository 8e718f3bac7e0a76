package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"evergrant/internal/atomicfile"
	"evergrant/internal/grant"
	"evergrant/internal/provider"
)

func (a *app) providersCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "providers [PRESET]",
		Short: "list the presets, or show one with its behaviour, sources and terms",
		Long: "Lists the presets, or shows one with its behaviour, sources and terms. A path to a YAML file is a preset of\n" +
			"your own; --provider takes one as well.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return a.listProviders(asJSON)
			}
			p, err := lookup(args[0])
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(a.stdout, summary(p))
			}
			return a.showProvider(p)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "JSON on standard output")
	return cmd
}

// maxPreset bounds a preset file, in bytes.
const maxPreset = 64 << 10

// lookup finds a preset by its name, or reads one from a YAML file.
func lookup(name string) (provider.Preset, error) {
	if !strings.ContainsAny(name, `/\`) && !strings.HasSuffix(name, ".yaml") && !strings.HasSuffix(name, ".yml") {
		if !echoable(name) {
			return provider.Preset{}, usagef("what was given as a preset is the name of none; it is not repeated here").
				hint("evergrant providers lists them; without a preset give --token-url and --client-id")
		}
		p, err := provider.Lookup(name)
		if err != nil {
			return p, usagef("%v", err).hint("evergrant providers lists them; without a preset give --token-url and --client-id")
		}
		return p, nil
	}
	b, _, err := atomicfile.ReadRegular(name, maxPreset)
	if err != nil {
		return provider.Preset{}, usagef("preset %s: %v", shownPath(name), err)
	}
	p, err := provider.Parse(b, name)
	if err != nil {
		return p, usagef("%v", err)
	}
	return p, nil
}

// providerSummary is the JSON form of a preset.
type providerSummary struct {
	Name          string   `json:"name"`
	Title         string   `json:"title"`
	TokenURL      string   `json:"token_url"`
	Rotates       bool     `json:"rotates"`
	Reuse         string   `json:"reuse"`
	Grace         string   `json:"grace,omitempty"`
	Sibling       string   `json:"sibling,omitempty"`
	RevokesAccess bool     `json:"refresh_revokes_access"`
	Access        string   `json:"access_life,omitempty"`
	Idle          string   `json:"idle_life,omitempty"`
	Absolute      string   `json:"consent_life,omitempty"`
	RefreshEnv    string   `json:"refresh_env,omitempty"`
	AccessEnv     string   `json:"access_env,omitempty"`
	SignIn        []string `json:"sign_in"` // browser, device, own tool; empty: no source tells
	Revokes       bool     `json:"logout_revokes"`
	SharedUse     string   `json:"shared_use"`
	Tested        string   `json:"tested"`
	Notes         []string `json:"notes"`
}

func summary(p provider.Preset) providerSummary {
	b := p.Behaviour()
	s := providerSummary{
		Name: p.Name, Title: p.Title, TokenURL: p.TokenURL, Rotates: b.Rotates, Reuse: b.Reuse.String(), RevokesAccess: b.RevokesAccess,
		Access: life(p.Lifetimes.Access), Idle: life(p.Lifetimes.Idle), Absolute: life(p.Lifetimes.Absolute),
		RefreshEnv: p.Env.Refresh, AccessEnv: p.Env.Access, SharedUse: p.Terms.SharedUse, Tested: p.Tested, Notes: emptyNotNull(p.Notes),
		SignIn: waysOf(p.SignIn), Revokes: p.SignIn.RevokeURL != "",
	}
	if s.SharedUse == "" {
		s.SharedUse = provider.SharedUnknown
	}
	if b.Reuse == grant.ReuseGrace {
		s.Grace, s.Sibling = span(b.Grace), b.Sibling.String()
	}
	return s
}

// waysOf are the ways to sign in that a source tells of.
func waysOf(s provider.SignIn) []string {
	ways := []string{}
	for name, is := range map[string]bool{"browser": s.AuthorizeURL != "", "device": s.DeviceURL != "", "own tool": len(s.OwnTool) > 0} {
		if is {
			ways = append(ways, name)
		}
	}
	slices.Sort(ways)
	return ways
}

func life(d provider.Span) string {
	if d == 0 {
		return ""
	}
	return span(time.Duration(d))
}

func (a *app) listProviders(asJSON bool) error {
	all := []providerSummary{}
	for _, name := range provider.Names() {
		p, err := provider.Lookup(name)
		if err != nil {
			return err
		}
		all = append(all, summary(p))
	}
	if asJSON {
		return printJSON(a.stdout, all)
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "PRESET\tROTATES\tSPENT TOKEN\tENDS ACCESS\tACCESS LIFE\tCONSENT LIFE\tSHARED USE")
	for _, s := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", s.Name, yes(s.Rotates), strings.TrimSpace(s.Reuse+" "+s.Grace), yes(s.RevokesAccess),
			dash(s.Access), dash(s.Absolute), s.SharedUse)
	}
	err := w.Flush()
	return written("the table", err)
}

func (a *app) showProvider(p provider.Preset) error {
	s := summary(p)
	type entry struct{ name, value string }
	var rows []entry
	row := func(name, value string) {
		if value != "" {
			rows = append(rows, entry{name, value})
		}
	}
	row("preset", s.Name+": "+s.Title)
	row("token url", s.TokenURL)
	for _, name := range sortedKeys(p.Vars) {
		v := p.Vars[name]
		text := v.About
		if v.Default != "" {
			text += " (default " + v.Default + ")"
		}
		row("  --param "+name+"=", text)
	}
	row("client id", p.Client.ID)
	row("rotates", yes(s.Rotates))
	row("spent token", reuseInWords(p.Behaviour()))
	row("running token", map[bool]string{true: "ended by a refresh", false: "not touched by a refresh"}[s.RevokesAccess])
	row("access life", s.Access)
	row("idle life", s.Idle)
	row("consent life", s.Absolute)
	row("starts from", s.RefreshEnv)
	row("exported as", s.AccessEnv)
	row("sign in", strings.Join(s.SignIn, ", "))
	for _, command := range p.SignIn.OwnTool {
		row("", command)
	}
	row("redirect uri", registeredRedirect(p.SignIn))
	row("logout", map[bool]string{true: "revokes the refresh token", false: "retires the record alone"}[s.Revokes])
	row("shared use", s.SharedUse)
	row("terms", strings.TrimSpace(p.Terms.Summary+" "+p.Terms.URL))
	row("checked", p.Terms.Checked)
	row("tested", s.Tested)
	margin := 0
	for _, r := range rows {
		margin = max(margin, len(r.name)+2)
	}
	page := paper{width: a.foldTo()}
	var b strings.Builder
	for _, r := range rows {
		if r.name == "" { // a command, to be copied
			b.WriteString(strings.Repeat(" ", margin) + r.value + "\n")
			continue
		}
		b.WriteString(page.entry(page.fit(r.name, margin), "", r.value, ""))
	}
	_, err := io.WriteString(a.stdout, b.String()+lists(p, page))
	return written("the preset", err)
}

// registeredRedirect is the address that the client must have as a redirect URI, as
// login sends people there; "" where nobody signs in by a browser.
func registeredRedirect(s provider.SignIn) string {
	if s.AuthorizeURL == "" {
		return ""
	}
	s.Redirect = or(s.Redirect, provider.RedirectFixed)
	uri := redirectOf(loginOptions{}, provider.Ways{SignIn: s})
	switch s.Redirect {
	case provider.RedirectHTTPS:
		return "an https page of your own, which login takes as --redirect-uri https://HOST/PATH"
	case provider.RedirectLoopback:
		return "register " + uri + " with your client; any port will do"
	}
	return "register " + uri + " with your client, or another port by --port"
}

// lists are the notes and the sources of a preset.
func lists(p provider.Preset, page paper) string {
	var b strings.Builder
	for _, note := range p.Notes {
		b.WriteString("\n" + page.entry("note: ", "", note, ""))
	}
	if len(p.Sources) > 0 {
		b.WriteString("\nsources:\n")
	}
	for _, s := range p.Sources {
		b.WriteString(page.entry("  ", "", fmt.Sprintf("%s (%s)", strings.TrimSpace(s.Name+" "+s.URL), s.Confidence), ""))
		if s.Says != "" {
			b.WriteString(page.entry("    ", "", s.Says, ""))
		}
	}
	return b.String()
}

func reuseInWords(b grant.Behaviour) string {
	switch b.Reuse {
	case grant.ReuseSafe:
		return "never minded"
	case grant.ReuseGrace:
		answer := map[grant.Sibling]string{
			grant.SiblingReplaces: "a second answer ends the first one's tokens",
			grant.SiblingSame:     "the same tokens are answered again",
			grant.SiblingValid:    "new tokens are answered, and the first ones stay valid",
		}[b.Sibling]
		return fmt.Sprintf("tolerated for %s: %s", span(b.Grace), answer)
	}
	return "ends the login, or nobody knows"
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
