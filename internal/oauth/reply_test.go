package oauth_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"evergrant/internal/grant"
	"evergrant/internal/oauth"
)

func noon() time.Time { return time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC) }

func header(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Set(pairs[i], pairs[i+1])
	}
	return h
}

// fill puts the test's tokens into a reply: A and R are issued, P was presented.
func fill(s string) string {
	return strings.NewReplacer("$A", access, "$R", issued, "$P", presented).Replace(s)
}

func settle(t *testing.T, cfg oauth.Config, status int, h http.Header, body string, whole bool) (grant.TokenSet, *grant.RefreshError) {
	t.Helper()
	set, f := oauth.Settle(newClient(t, cfg), status, h, body, whole, grant.NewSecret(presented), noon())
	if f != nil {
		failure(t, f)
	}
	return set, f
}

func zipped(s string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write([]byte(s))
	z.Close()
	return b.String()
}

func TestTokenReplies(t *testing.T) {
	t.Parallel()
	form := header("Content-Type", "application/x-www-form-urlencoded")
	long := strings.Repeat("x", oauth.MaxToken+1)
	for name, tc := range map[string]struct {
		h       http.Header
		body    string
		cut     bool
		access  string
		refresh string
	}{
		"plain":                       {nil, `{"access_token":"$A","refresh_token":"$R"}`, false, "$A", "$R"},
		"no refresh token":            {nil, `{"access_token":"$A"}`, false, "$A", ""},
		"null refresh token":          {nil, `{"access_token":"$A","refresh_token":null}`, false, "$A", ""},
		"empty refresh token":         {nil, `{"access_token":"$A","refresh_token":""}`, false, "$A", ""},
		"unchanged refresh token":     {nil, `{"access_token":"$A","refresh_token":"$P"}`, false, "$A", "$P"},
		"no access token":             {nil, `{"refresh_token":"$R","expires_in":5}`, false, "", "$R"},
		"null error":                  {nil, `{"access_token":"$A","refresh_token":"$R","error":null}`, false, "$A", "$R"},
		"empty error":                 {nil, `{"access_token":"$A","error":"","ok":true}`, false, "$A", ""},
		"tokens beside an error":      {nil, `{"access_token":"$A","refresh_token":"$R","error":"partial"}`, false, "$A", "$R"},
		"escapes":                     {nil, `{"access_token":"$A","refresh_token":"a\u002fb\/c\"d\\e\ud83d\ude00"}`, false, "$A", `a/b/c"d\e😀`},
		"numeric refresh token":       {nil, `{"access_token":"$A","refresh_token":12345678901234567890}`, false, "$A", "12345678901234567890"},
		"byte order mark":             {nil, "\xef\xbb\xbf" + `{"access_token":"$A","refresh_token":"$R"}`, false, "$A", "$R"},
		"repeated members":            {nil, `{"refresh_token":"old","access_token":"$A","refresh_token":"$R"}`, false, "$A", "$R"},
		"repeated, then null":         {nil, `{"access_token":"$A","refresh_token":"$R","refresh_token":null}`, false, "$A", "$R"},
		"repeated, then empty":        {nil, `{"access_token":"$A","refresh_token":"$R","refresh_token":""}`, false, "$A", "$R"},
		"repeated, then false":        {nil, `{"access_token":"$A","refresh_token":"$R","refresh_token":false}`, false, "$A", "$R"},
		"repeated, first null":        {nil, `{"access_token":null,"refresh_token":null,"access_token":"$A","refresh_token":"$R"}`, false, "$A", "$R"},
		"repeated access token, null": {nil, `{"access_token":"$A","access_token":null,"refresh_token":"$R"}`, false, "$A", "$R"},
		"repeated and wrapped":        {nil, `{"data":{"access_token":"$A","refresh_token":"$R","refresh_token":null}}`, false, "$A", "$R"},
		"false is no refresh token":   {nil, `{"access_token":"$A","refresh_token":false}`, false, "$A", ""},
		"form, repeated, then empty":  {form, `access_token=$A&refresh_token=$R&refresh_token=`, false, "$A", "$R"},
		"names match exactly":         {nil, `{"access_token":"$A","refresh_token":"$R","Refresh_Token":"x","ACCESS_TOKEN":"y"}`, false, "$A", "$R"},
		"wrapped":                     {nil, `{"code":0,"data":{"access_token":"$A","refresh_token":"$R"}}`, false, "$A", "$R"},
		"top wins over a member":      {nil, `{"access_token":"$A","refresh_token":"$R","authed_user":{"access_token":"u","refresh_token":"v"}}`, false, "$A", "$R"},
		"what follows is ignored":     {nil, `{"access_token":"$A","refresh_token":"$R"}<!-- served by x -->`, false, "$A", "$R"},
		"JSON called HTML":            {header("Content-Type", "text/html"), `{"access_token":"$A","refresh_token":"$R"}`, false, "$A", "$R"},
		"gzip":                        {header("Content-Encoding", "gzip"), zipped(fill(`{"access_token":"$A","refresh_token":"$R"}`)), false, "$A", "$R"},
		"gzip unannounced":            {nil, zipped(fill(`{"access_token":"$A","refresh_token":"$R"}`)), false, "$A", "$R"},
		"gzip announced, not done":    {header("Content-Encoding", "gzip"), `{"access_token":"$A","refresh_token":"$R"}`, false, "$A", "$R"},
		"form":                        {form, `access_token=$A&refresh_token=$R&expires_in=3600`, false, "$A", "$R"},
		"form by shape":               {header("Content-Type", "text/plain"), `access_token=$A&refresh_token=$R`, false, "$A", "$R"},
		"form with escapes":           {form, `access_token=$A&refresh_token=a%2Bb+c%26d`, false, "$A", "a+b c&d"},
		"JSON called a form":          {form, `{"access_token":"$A","refresh_token":"$R"}`, false, "$A", "$R"},
		"newline in access token":     {nil, `{"access_token":"x\ny","refresh_token":"$R"}`, false, "", "$R"},
		"umlaut in access token":      {nil, `{"access_token":"xüy","refresh_token":"$R"}`, false, "", "$R"},
		"oversized access token":      {nil, `{"access_token":"` + long + `","refresh_token":"$R"}`, false, "", "$R"},
		"newline in refresh token":    {nil, `{"access_token":"$A","refresh_token":"x\ny"}`, false, "$A", "x\ny"},
		"oversized refresh token":     {nil, `{"access_token":"$A","refresh_token":"` + long + `"}`, false, "$A", long},
		"replacement character meant": {nil, `{"access_token":"$A","refresh_token":"x\uFFFDy` + "\ufffd" + `"}`, false, "$A", "x\ufffdy\ufffd"},

		"cut behind the refresh token":  {nil, `{"refresh_token":"$R","access_token":"$A","expi`, true, "$A", "$R"},
		"cut inside the access token":   {nil, `{"refresh_token":"$R","access_token":"canary-acc`, true, "", "$R"},
		"cut with escapes":              {nil, `{"access_token":"$A", "refresh_token" : "a\"b\u0041" ,`, true, "$A", `a"bA`},
		"only the last brace is gone":   {nil, `{"access_token":"$A","refresh_token":"$R"`, true, "$A", "$R"},
		"whole but announced longer":    {nil, `{"access_token":"$A"}`, true, "$A", ""},
		"trailing comma":                {nil, `{"access_token":"$A","refresh_token":"$R",}`, false, "$A", "$R"},
		"bare word":                     {nil, `{"expires_in":soon,"access_token":"$A","refresh_token":"$R"}`, false, "$A", "$R"},
		"raw newline in refresh token":  {nil, "{\"access_token\":\"$A\",\"refresh_token\":\"x\ny\"}", false, "$A", "x\ny"},
		"something in front":            {nil, `Warning: x {"access_token":"$A","refresh_token":"$R"}`, false, "$A", "$R"},
		"in an array":                   {nil, `[{"access_token":"$A","refresh_token":"$R"}]`, false, "$A", "$R"},
		"quoted JSON is no member":      {nil, `{"note":"say \"refresh_token\":\"no\"","refresh_token":"$R","access_token":"$A",}`, false, "$A", "$R"},
		"cut, an older one inside":      {nil, `{"previous":{"refresh_token":"older"},"access_token":"$A","refresh_token":"$R","x`, true, "$A", "$R"},
		"cut, an older one behind":      {nil, `{"access_token":"$A","refresh_token":"$R","previous":{"access_token":"b","refresh_token":"older"},"x`, true, "$A", "$R"},
		"cut, null behind":              {nil, `{"access_token":"$A","refresh_token":"$R","refresh_token":null,"x`, true, "$A", "$R"},
		"wrapped, a comma too many":     {nil, `{"code":0,"data":{"access_token":"$A","refresh_token":"$R"},}`, true, "$A", "$R"},
		"of one object":                 {nil, `{"bot":{"access_token":"b"},"user":{"access_token":"$A","refresh_token":"$R"},}`, false, "$A", "$R"},
		"half a quotation in front":     {nil, `Warning: say "x {"access_token":"$A","refresh_token":"$R"}`, false, "$A", "$R"},
		"a name in front":               {nil, `Notice: "refresh_token": renamed {"access_token":"$A","refresh_token":"$R"}`, false, "$A", "$R"},
		"an object in front":            {nil, `x={"a":{}} {"access_token":"$A","refresh_token":"$R"}`, false, "$A", "$R"},
		"the beginning is gone":         {nil, `"access_token":"$A","refresh_token":"$R"}`, false, "$A", "$R"},
		"a quote too many":              {nil, `{"note":"5" pipe","access_token":"$A","refresh_token":"$R","previous":{"id":7}}`, false, "$A", "$R"},
		"unchanged, a comma too many":   {nil, `{"access_token":"$A","refresh_token":"$P",}`, false, "$A", "$P"},
		"unchanged, something in front": {nil, `Warning: x {"access_token":"$A","refresh_token":"$P"}`, false, "$A", "$P"},
		"form cut behind refresh token": {form, `refresh_token=$R&access_token=canary-acc`, true, "", "$R"},
		"gzip cut":                      {nil, zipped(strings.Repeat(" ", 9) + fill(`{"refresh_token":"$R","access_token":"$A"}`))[:60], true, "", "$R"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			set, f := settle(t, oauth.Config{}, 200, tc.h, fill(tc.body), !tc.cut)
			if name == "gzip cut" { // how much survives is the compressor's affair
				if f != nil && f.Fate != grant.InDoubt {
					t.Errorf("fate %v", f.Fate)
				}
				return
			}
			if f != nil {
				t.Fatalf("failed: %v", f)
			}
			if set.Access.Value.Reveal() != fill(tc.access) || set.Refresh.Reveal() != fill(tc.refresh) || !set.ObtainedAt.Equal(noon()) {
				t.Errorf("access token right: %v, refresh token right: %v",
					set.Access.Value.Reveal() == fill(tc.access), set.Refresh.Reveal() == fill(tc.refresh))
			}
		})
	}
}

func TestMembersOfTokenReplies(t *testing.T) {
	t.Parallel()
	never := time.Time{}
	at := func(seconds float64) time.Time { return noon().Add(time.Duration(seconds * float64(time.Second))) }
	for name, tc := range map[string]struct {
		members string
		expiry  time.Time
		refresh time.Time
		typ     string
		scope   string // joined by |
		sep     string
	}{
		"nothing":              {``, never, never, "Bearer", "", ""},
		"number":               {`,"expires_in":3600`, at(3600), never, "Bearer", "", ""},
		"string":               {`,"expires_in":" 3600 "`, at(3600), never, "Bearer", "", ""},
		"float":                {`,"expires_in":3599.5`, at(3599.5), never, "Bearer", "", ""},
		"exponent":             {`,"expires_in":3.6e3`, at(3600), never, "Bearer", "", ""},
		"soon":                 {`,"expires_in":"soon"`, never, never, "Bearer", "", ""},
		"object":               {`,"expires_in":{"a":[1]}`, never, never, "Bearer", "", ""},
		"zero":                 {`,"expires_in":0`, never, never, "Bearer", "", ""},
		"negative":             {`,"expires_in":-5`, never, never, "Bearer", "", ""},
		"a time stamp":         {`,"expires_in":1893456000`, never, never, "Bearer", "", ""},
		"infinite":             {`,"expires_in":"Inf"`, never, never, "Bearer", "", ""},
		"not a number":         {`,"expires_in":"NaN"`, never, never, "Bearer", "", ""},
		"beyond float":         {`,"expires_in":1e999`, never, never, "Bearer", "", ""},
		"refresh":              {`,"refresh_token_expires_in":86400`, never, at(86400), "Bearer", "", ""},
		"refresh, Intuit":      {`,"x_refresh_token_expires_in":"86400"`, never, at(86400), "Bearer", "", ""},
		"refresh, Keycloak":    {`,"refresh_expires_in":1800`, never, at(1800), "Bearer", "", ""},
		"refresh, unusable":    {`,"refresh_token_expires_in":"x","refresh_expires_in":1800`, never, at(1800), "Bearer", "", ""},
		"refresh, for ever":    {`,"refresh_expires_in":0`, never, never, "Bearer", "", ""},
		"type":                 {`,"token_type":"DPoP"`, never, never, "DPoP", "", ""},
		"type injected":        {`,"token_type":"Bearer\nX: y"`, never, never, "Bearer", "", ""},
		"type a number":        {`,"token_type":7`, never, never, "Bearer", "", ""},
		"scope":                {`,"scope":"a  b c:d"`, never, never, "Bearer", "a|b|c:d", ""},
		"scope keeps commas":   {`,"scope":"a,b c"`, never, never, "Bearer", "a,b|c", ""},
		"scope by commas":      {`,"scope":"a,b, c"`, never, never, "Bearer", "a|b|c", ","},
		"scope array":          {`,"scope":["a","b",3,null,"c"]`, never, never, "Bearer", "a|b|c", ""},
		"scope a number":       {`,"scope":3`, never, never, "Bearer", "", ""},
		"scope null":           {`,"scope":null`, never, never, "Bearer", "", ""},
		"scope with a control": {`,"scope":["a","b\u0007"]`, never, never, "Bearer", "a", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body := fill(`{"access_token":"$A","refresh_token":"$R"` + tc.members + `}`)
			set, f := settle(t, oauth.Config{ScopeSeparator: tc.sep}, 200, nil, body, true)
			wantTokens(t, set, f)
			if !set.Access.Expiry.Equal(tc.expiry) || !set.RefreshExpiry.Equal(tc.refresh) || set.Access.ExpiryAssumed {
				t.Errorf("expiry %v, of the refresh token %v", set.Access.Expiry, set.RefreshExpiry)
			}
			if set.Access.Type != tc.typ || strings.Join(set.Access.Scope, "|") != tc.scope {
				t.Errorf("type %q, scope %q", set.Access.Type, set.Access.Scope)
			}
		})
	}
}

func TestFates(t *testing.T) {
	t.Parallel()
	retry := header("Retry-After", "7")
	html := header("Content-Type", "text/html; charset=utf-8")
	preset := oauth.Config{
		Codes: map[string]grant.Fate{
			"refresh_token_reused": grant.Rejected, "ratelimited": grant.Unspent, "invalid_request": grant.Rejected, "app_error": grant.InDoubt,
		},
		Statuses: map[int]grant.Fate{503: grant.Unspent, 404: grant.InDoubt},
	}
	none := oauth.Config{}
	for name, tc := range map[string]struct {
		cfg    oauth.Config
		status int
		h      http.Header
		body   string
		fate   grant.Fate
		code   string
	}{
		"invalid_grant":                {none, 400, nil, `{"error":"invalid_grant","error_description":"token $P"}`, grant.Rejected, "invalid_grant"},
		"invalid_grant with 401":       {none, 401, nil, `{"error":"invalid_grant"}`, grant.Rejected, "invalid_grant"},
		"invalid_grant with 200":       {none, 200, nil, `{"error":"invalid_grant"}`, grant.Rejected, "invalid_grant"},
		"invalid_grant with 500":       {none, 500, nil, `{"error":"invalid_grant"}`, grant.Rejected, "invalid_grant"},
		"invalid_grant nested":         {none, 400, nil, `{"error":{"type":"invalid_grant","message":"x"}}`, grant.Rejected, "invalid_grant"},
		"invalid_grant as form":        {none, 200, nil, `error=invalid_grant&error_description=x`, grant.Rejected, "invalid_grant"},
		"invalid_grant with an echo":   {none, 200, nil, `{"error":"invalid_grant","refresh_token":"$P","access_token":"$A"}`, grant.Rejected, "invalid_grant"},
		"invalid_grant in other words": {none, 400, nil, `{"error":"Invalid_Grant"}`, grant.Refused, "Invalid_Grant"},
		"invalid_client":               {none, 401, nil, `{"error":"invalid_client"}`, grant.Refused, "invalid_client"},
		"invalid_request":              {none, 400, nil, `{"error":"invalid_request"}`, grant.Refused, "invalid_request"},
		"invalid_request with 500":     {none, 500, nil, `{"error":"invalid_request"}`, grant.InDoubt, "invalid_request"},
		"invalid_client with 502":      {none, 502, nil, `{"error":"invalid_client"}`, grant.InDoubt, "invalid_client"},
		"unauthorized_client":          {none, 400, nil, `{"error":"unauthorized_client"}`, grant.Refused, "unauthorized_client"},
		"unsupported_grant_type":       {none, 400, nil, `{"error":"unsupported_grant_type"}`, grant.Refused, "unsupported_grant_type"},
		"invalid_scope":                {none, 400, nil, `{"error":"invalid_scope"}`, grant.Refused, "invalid_scope"},
		"code wins over 429":           {none, 429, retry, `{"error":"invalid_client"}`, grant.Refused, "invalid_client"},
		"503 and what it is about":     {none, 503, retry, `{"error":"invalid_client"}`, grant.Unspent, "invalid_client"},
		"slow_down":                    {none, 400, nil, `{"error":"slow_down"}`, grant.Unspent, "slow_down"},
		"server_error with 400":        {none, 400, nil, `{"error":"server_error"}`, grant.InDoubt, "server_error"},
		"internal_error with 200":      {none, 200, nil, `{"ok":false,"error":"internal_error"}`, grant.InDoubt, "internal_error"},
		"temporarily_unavailable, 400": {none, 400, nil, `{"error":"temporarily_unavailable"}`, grant.InDoubt, "temporarily_unavailable"},
		"temporarily_unavailable, 429": {none, 429, nil, `{"error":"temporarily_unavailable"}`, grant.Unspent, "temporarily_unavailable"},
		"temporarily_unavailable, 503": {none, 503, nil, `{"error":"temporarily_unavailable"}`, grant.InDoubt, "temporarily_unavailable"},
		"temporarily_unavailable, R-A": {none, 503, retry, `{"error":"temporarily_unavailable"}`, grant.Unspent, "temporarily_unavailable"},

		"429":              {none, 429, nil, `{"error":{"type":"rate_limit_error","message":"x"}}`, grant.Unspent, "rate_limit_error"},
		"429 page":         {none, 429, html, `<html>`, grant.Unspent, ""},
		"503":              {none, 503, nil, ``, grant.InDoubt, ""},
		"503 Retry-After":  {none, 503, retry, ``, grant.Unspent, ""},
		"408":              {none, 408, nil, ``, grant.InDoubt, ""},
		"500":              {none, 500, nil, `{"message":"refresh_token"}`, grant.InDoubt, ""},
		"500 Retry-After":  {none, 500, retry, ``, grant.InDoubt, ""},
		"502":              {none, 502, html, `<html>bad gateway`, grant.InDoubt, ""},
		"504":              {none, 504, nil, ``, grant.InDoubt, ""},
		"520":              {none, 520, nil, ``, grant.InDoubt, ""},
		"101":              {none, 101, nil, ``, grant.InDoubt, ""},
		"600":              {none, 600, nil, ``, grant.InDoubt, ""},
		"301":              {none, 301, header("Location", "https://other.example/canary"), ``, grant.Refused, ""},
		"307":              {none, 307, nil, ``, grant.Refused, ""},
		"401 bare":         {none, 401, nil, ``, grant.Refused, ""},
		"403 page":         {none, 403, html, `<html>challenge`, grant.Refused, ""},
		"404 envelope":     {none, 404, nil, `{"type":"error","error":{"type":"not_found_error","message":"x"}}`, grant.Refused, "not_found_error"},
		"405":              {none, 405, nil, `no`, grant.Refused, ""},
		"200 unknown code": {none, 200, nil, `{"error":"incorrect_client_credentials"}`, grant.InDoubt, "incorrect_client_credentials"},
		"200 not ok":       {none, 200, nil, `{"ok":false}`, grant.InDoubt, ""},
		"200 error true":   {none, 200, nil, `{"error":true}`, grant.InDoubt, ""},
		"200 empty":        {none, 200, nil, ``, grant.InDoubt, ""},
		"204":              {none, 204, nil, ``, grant.InDoubt, ""},
		"200 page":         {none, 200, html, `<html>sign in`, grant.InDoubt, ""},
		"200 sample page":  {none, 200, html, `<html><pre>{"refresh_token":"sample",}</pre>`, grant.InDoubt, ""},
		"200 other JSON":   {none, 200, nil, `{"status":"fine"}`, grant.InDoubt, ""},
		"bad access only":  {none, 200, nil, `{"access_token":"a\nb"}`, grant.Refused, ""},

		"preset code, nested":       {preset, 401, nil, `{"error":{"code":"refresh_token_reused","type":"invalid_request_error"}}`, grant.Rejected, "refresh_token_reused"},
		"preset code, by type":      {preset, 401, nil, `{"error":{"code":"other","type":"refresh_token_reused"}}`, grant.Rejected, "refresh_token_reused"},
		"preset code, at the top":   {preset, 401, nil, `{"code":"refresh_token_reused"}`, grant.Rejected, "refresh_token_reused"},
		"a code in a 2xx is data":   {preset, 200, nil, `{"code":"refresh_token_reused"}`, grant.InDoubt, ""},
		"preset code wins over RFC": {preset, 400, nil, `{"error":"invalid_request"}`, grant.Rejected, "invalid_request"},
		"preset code, 200":          {preset, 200, nil, `{"ok":false,"error":"ratelimited"}`, grant.Unspent, "ratelimited"},
		"preset code, in doubt":     {preset, 400, nil, `{"error":"app_error"}`, grant.InDoubt, "app_error"},
		"preset status":             {preset, 503, nil, ``, grant.Unspent, ""},
		"preset status, unknown":    {preset, 404, nil, `{"error":"gone"}`, grant.InDoubt, "gone"},
		"code wins over status":     {preset, 503, nil, `{"error":"invalid_grant"}`, grant.Rejected, "invalid_grant"},

		"tokens under 500":         {none, 500, nil, `{"refresh_token":"$P","access_token":"$A"}`, grant.InDoubt, ""},
		"code is the token":        {none, 400, nil, `{"error":"$P"}`, grant.Refused, ""},
		"code has a token's piece": {none, 400, nil, `{"error":"bad presented-ort01"}`, grant.Refused, ""},
		"code is long":             {none, 400, nil, `{"error":"` + strings.Repeat("x", 65) + `"}`, grant.Refused, ""},
		"code has a newline":       {none, 400, nil, `{"error":"a\nb"}`, grant.Refused, ""},
		"code is not ASCII":        {none, 400, nil, `{"error":"ungültig"}`, grant.Refused, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			set, f := settle(t, tc.cfg, tc.status, tc.h, fill(tc.body), true)
			if f == nil {
				t.Fatalf("success, refresh token %v", !set.Refresh.IsZero())
			}
			if f.Fate != tc.fate || f.Code != tc.code || f.Status != tc.status {
				t.Errorf("fate %v, code %q, status %d; want %v, %q", f.Fate, f.Code, f.Status, tc.fate, tc.code)
			}
			if !f.Raw.IsZero() && f.Fate != grant.InDoubt {
				t.Error("Raw without doubt")
			}
		})
	}
}

// A chain under a failing status is still a chain, unless it is an echo.
func TestTokensUnderAFailingStatus(t *testing.T) {
	t.Parallel()
	set, f := settle(t, oauth.Config{}, 500, nil, fill(`{"access_token":"$A","refresh_token":"$R"}`), true)
	wantTokens(t, set, f)
}

func TestCutAnswersAreInDoubt(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		status int
		h      http.Header
		body   string
		raw    bool
	}{
		"before anything":          {200, nil, ``, false},
		"inside the refresh token": {200, nil, `{"access_token":"$A","refresh_token":"canary-iss`, false},
		"inside an escape":         {200, nil, `{"refresh_token":"canary\`, false},
		"before the refresh token": {200, nil, `{"access_token":"$A","expires_in":36`, false},
		"number cut":               {200, nil, `{"refresh_token":12345`, true},
		"form, inside":             {200, header("Content-Type", "application/x-www-form-urlencoded"), `access_token=$A&refresh_token=canary-iss`, true},
		"an error":                 {400, nil, `{"error":"invalid_grant"`, false},
		"an older one inside":      {200, nil, `{"previous":{"refresh_token":"older"},"access_token":"$A","refresh_token":"canary-iss`, true},
		"an older one, name cut":   {200, nil, `{"previous":{"refresh_token":"older"},"access_token":"$A","refr`, true},
		"an older one, repeated":   {200, nil, `{"refresh_token":"older","access_token":"$A","refresh_token":"canary-iss`, true},
		"an older one, then none":  {200, nil, `{"previous":{"refresh_token":"older"},"acc`, true},
		"wrapped":                  {200, nil, `{"code":0,"data":{"access_token":"$A","refresh_token":"$R"},"x":{"y`, true},
		"two, one of them whole":   {200, nil, `{"bot":{"refresh_token":"older"},"user":{"refresh_token":"canary-iss`, true},
		"two, both of them whole":  {200, nil, `{"bot":{"refresh_token":"older"},"user":{"refresh_token":"$R"},"x`, true},
		"ours inside":              {200, nil, `{"previous":{"refresh_token":"$P"},"access_token":"$A","refresh_token":"canary-iss`, false},
		"ours, name cut":           {200, nil, `{"previous":{"refresh_token":"$P"},"access_token":"$A","refr`, false},
		"ours":                     {200, nil, `{"refresh_token":"$P","access_token":"$A","expi`, false},
		"form, ours":               {200, header("Content-Type", "application/x-www-form-urlencoded"), `refresh_token=$P&access_token=canary-acc`, false},
		"form, ours, then another": {200, header("Content-Type", "application/x-www-form-urlencoded"), `refresh_token=$P&refresh_token=canary-iss`, true},
		"none":                     {200, nil, `{"refresh_token":null,"access_token":"$A","refresh_token":"","expi`, false},
		"none, and a grant type":   {200, nil, `{"grant_type":"refresh_token","supported":["x","refresh_token"],"access_token":"$A","expi`, false},
		"ours, then unreadable":    {200, nil, `{"refresh_token":"$P","access_token":"$A","refresh_token":{"v":"canary-iss"},`, true},
		"an error as a form":       {400, nil, `error=invalid_grant`, false},
		"429":                      {429, nil, `{"error":`, false},
		"500 with a token":         {500, nil, `{"refresh_token":"$R"`, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, f := settle(t, oauth.Config{}, tc.status, tc.h, fill(tc.body), false)
			if f == nil || f.Fate != grant.InDoubt || f.Code != "" {
				t.Fatalf("got %v", f)
			}
			if f.Raw.IsZero() == tc.raw {
				t.Errorf("Raw kept: %v", !f.Raw.IsZero())
			}
		})
	}
}

// TestCutAnywhere: wherever an answer is cut, it gives the refresh token that it gives
// whole, or is in doubt, and then what it showed of that token is kept.
func TestCutAnywhere(t *testing.T) {
	t.Parallel()
	for i, body := range []string{
		`{"access_token":"$A","refresh_token":"$R","previous":{"access_token":"b","refresh_token":"older"},"scope":"x"}`,
		`{"previous":{"access_token":"b","refresh_token":"older"},"access_token":"$A","refresh_token":"$R","scope":"x"}`,
		`{"previous":{"refresh_token":"$P"},"refresh_token":"$R","access_token":"$A","refresh_token":null}`,
		`{"code":0,"data":{"access_token":"$A","refresh_token":"$R"},"old":{"id":1}}`,
		`{"grant_type":"refresh_token","request":{"refresh_token":"$P"},"refresh_token":"$R"}`,
		`access_token=$A&refresh_token=$R&scope=x`,
	} {
		body = fill(body)
		whole := strings.Index(body, issued) + len(issued) + 1
		for end := range len(body) {
			set, f := settle(t, oauth.Config{}, 200, nil, body[:end], false)
			switch {
			case f == nil && set.Refresh.Reveal() != issued:
				t.Errorf("cut at %d of reply %d: another token is taken", end, i)
			case f != nil && f.Fate != grant.InDoubt:
				t.Errorf("cut at %d of reply %d: %v", end, i, f.Fate)
			case f != nil && end >= whole && !strings.Contains(f.Raw.Reveal(), issued):
				t.Errorf("cut at %d of reply %d: in doubt, and the token is not kept", end, i)
			}
		}
	}
}

func TestRaw(t *testing.T) {
	t.Parallel()
	far := `{"pad":"` + strings.Repeat("x", 200<<10) + `","refresh_token":["` + issued + `"]}`
	for name, tc := range map[string]struct {
		status int
		h      http.Header
		body   string
		want   string // part of Raw; "" for none
	}{
		"other JSON":               {200, nil, `{"tokens":"$R"}`, issued},
		"token is a structure":     {200, nil, `{"access_token":"$A","refresh_token":{"v":"$R"}}`, issued},
		"token has bad UTF-8":      {200, nil, "{\"access_token\":\"$A\",\"refresh_token\":\"$R\xff\"}", "base64:"},
		"token has half a pair":    {200, nil, `{"access_token":"$A","refresh_token":"$R\ud83d"}`, `\ud83d`},
		"form has bad UTF-8":       {200, nil, `access_token=$A&refresh_token=$R%FF`, issued + "%FF"},
		"two nested replies":       {200, nil, `{"bot":{"refresh_token":"$R"},"user":{"refresh_token":"other"}}`, issued},
		"page that names a token":  {200, header("Content-Type", "text/html"), `<html>"refresh_token":"$R"`, issued},
		"page that escapes JSON":   {200, nil, `<!DOCTYPE html><pre>{&quot;refresh_token&quot;:&quot;$R&quot;}</pre>`, issued},
		"page with a script":       {200, nil, `<html><script>done({'refresh_token': '$R'})</script>`, issued},
		"page with a form":         {200, nil, `<html><form><input type=hidden name="refresh_token" value="$R">`, issued},
		"page with a link":         {200, nil, `<html><a href="app://done#access_token=$A&amp;refresh_token=$R">`, issued},
		"page of Rails":            {200, nil, `<!DOCTYPE html><meta name="csrf-token" content="x"><form><input name="authenticity_token" value="$R"></form>`, ""},
		"page that echoes":         {200, nil, `<html><pre>grant_type=refresh_token&refresh_token=$P&client_id=x</pre><code>{"refresh_token":"$P"}</code>`, ""},
		"page with another token":  {200, nil, `<html><script>var c={"csrf_token":"$R","access_token":null}</script>`, ""},
		"two in a list":            {200, nil, `[{"refresh_token":"older"},{"refresh_token":"$R"}]`, issued},
		"two, a comma too many":    {200, nil, `{"bot":{"refresh_token":"$R"},"user":{"refresh_token":"other"},}`, issued},
		"cut at the source":        {200, nil, `{"previous":{"refresh_token":"$P"},"access_token":"$A","refresh_token":"$R`, issued},
		"repeated, a structure":    {200, nil, `{"access_token":"$A","refresh_token":"$P","refresh_token":{"v":"$R"}}`, issued},
		"text that names a token":  {200, nil, `refresh_token is $R`, issued},
		"strange encoding":         {200, header("Content-Encoding", "br"), "\x0b\x02\x80", "base64:CwKA"},
		"far behind":               {200, nil, far, issued},
		"broken JSON, no refresh":  {200, nil, `{"access_token":"$A",}`, access},
		"empty object":             {200, nil, `{}`, ""},
		"null":                     {200, nil, `null`, ""},
		"page":                     {200, nil, `<html>hello`, ""},
		"error of the server":      {500, nil, `{"refresh_token":{"v":"$R"}}`, ""},
		"error in words of tokens": {400, nil, `{"error":"server_error","error_description":"refresh_token"}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, f := settle(t, oauth.Config{}, tc.status, tc.h, fill(tc.body), true)
			if f == nil || f.Fate != grant.InDoubt {
				t.Fatalf("got %v", f)
			}
			raw := f.Raw.Reveal()
			if len(raw) > grant.MaxRaw || !strings.Contains(raw, tc.want) || (tc.want == "") != (raw == "") {
				t.Errorf("Raw of %d bytes is not as wanted", len(raw))
			}
		})
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		h    http.Header
		want time.Duration
	}{
		"none":             {nil, 0},
		"seconds":          {header("Retry-After", "120"), 2 * time.Minute},
		"fraction":         {header("Retry-After", " 1.5 "), 1500 * time.Millisecond},
		"negative":         {header("Retry-After", "-5"), 0},
		"words":            {header("Retry-After", "later"), 0},
		"NaN":              {header("Retry-After", "NaN"), 0},
		"absurd":           {header("Retry-After", "99999999999999999999"), 7 * 24 * time.Hour},
		"date":             {header("Retry-After", "Tue, 01 Jan 2030 12:01:00 GMT"), time.Minute},
		"date, past":       {header("Retry-After", "Tue, 01 Jan 2030 11:00:00 GMT"), 0},
		"date, far":        {header("Retry-After", "Tue, 01 Jan 2130 11:00:00 GMT"), 7 * 24 * time.Hour},
		"date of a server": {header("Retry-After", "Tue, 01 Jan 2019 12:01:00 GMT", "Date", "Tue, 01 Jan 2019 12:00:30 GMT"), 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, f := settle(t, oauth.Config{Now: noon}, 429, tc.h, "", true)
			if f.RetryAfter != tc.want {
				t.Errorf("retry after %v, want %v", f.RetryAfter, tc.want)
			}
		})
	}
}

func TestRefusalsSayWhatToDo(t *testing.T) {
	t.Parallel()
	for want, tc := range map[string]struct {
		status int
		h      http.Header
		body   string
	}{
		"HTML page, not JSON: a bot filter":              {403, nil, "<!DOCTYPE html>"},
		"a redirect to other.example; redirects are not": {302, header("Location", "https://u:canary@other.example/canary?canary"), ""},
		"a redirect; redirects are not":                  {302, header("Location", "/canary"), ""},
		"token URL is probably wrong":                    {404, nil, "not here"},
		"the answer is empty":                            {200, nil, " \n"},
		"neither tokens nor an error":                    {200, nil, "fine"},
		"not printable ASCII or is too long":             {200, nil, `{"access_token":"a\u0000"}`},
		"without a code that can be shown":               {200, nil, `{"ok":false}`},
	} {
		_, f := settle(t, oauth.Config{}, tc.status, tc.h, tc.body, true)
		if f == nil || !strings.Contains(f.Error(), want) {
			t.Errorf("%d %q: %v", tc.status, tc.body, f)
		}
	}
}

// The table in the package comment is the one that the code runs on.
func TestDocQuotesTheTable(t *testing.T) {
	t.Parallel()
	src, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	var doc []string
	for line := range strings.Lines(string(src)) {
		line, ok := strings.CutPrefix(line, "//\t")
		if !ok {
			continue
		}
		words := strings.Fields(line)
		if words[0] != "code" && words[0] != "status" {
			doc[len(doc)-1] += " " + strings.Join(words, " ")
			continue
		}
		doc = append(doc, strings.Join(words, " "))
	}
	var table []string
	for _, row := range oauth.Table() {
		table = append(table, row.String())
	}
	if !slices.Equal(doc, table) {
		t.Errorf("doc.go has\n%s\nand the table\n%s", strings.Join(doc, "\n"), strings.Join(table, "\n"))
	}
}

func FuzzParseReply(f *testing.F) {
	for _, body := range []string{
		`{"access_token":"$A","refresh_token":"$R","expires_in":"soon"}`, `{"refresh_token":"$R","acc`,
		`access_token=$A&refresh_token=$R`, `{"error":"$P"}`, `{"error":{"code":"x","type":"y"}}`, `{"ok":false}`,
		`<html>"refresh_token":"$R"`, "{\"refresh_token\":\"\xff\"}", zipped(`{"a":1}`), `[`, `{"refresh_token":"\ud800`,
	} {
		f.Add(200, "application/json", "", fill(body), true)
		f.Add(400, "", "gzip", fill(body), false)
	}
	client, err := oauth.New(oauth.Config{TokenURL: "https://example.com/", ClientID: "client"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, status int, media, encoding, body string, whole bool) {
		h := header("Content-Type", media, "Content-Encoding", encoding)
		set, fail := oauth.Settle(client, status, h, body, whole, grant.NewSecret(presented), noon())
		if fail != nil {
			text := fail.Error()
			if strings.Contains(text, presented) || strings.ContainsAny(text, "\n\r\x1b") || len(text) > 400 {
				t.Errorf("error text %q", text)
			}
			if len(fail.Raw.Reveal()) > grant.MaxRaw || !fail.Raw.IsZero() && fail.Fate != grant.InDoubt {
				t.Error("Raw is too long, or given without doubt")
			}
			return
		}
		if set.Access.Value.IsZero() && set.Refresh.IsZero() {
			t.Error("a success without tokens")
		}
		for _, s := range append(slices.Clone(set.Access.Scope), set.Access.Value.Reveal(), set.Access.Type) {
			if i := strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' }); i >= 0 {
				t.Errorf("what is delivered holds %q", s[i])
			}
		}
		if e := set.Access.Expiry; !e.IsZero() && (!e.After(noon()) || e.Year() > 2041) {
			t.Errorf("expiry %v", e)
		}
		if status/100 != 2 && set.Refresh.Reveal() == presented {
			t.Error("an echo under a failing status is taken for a success")
		}
		_ = fmt.Sprint(set)
	})
}
