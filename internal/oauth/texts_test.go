package oauth_test

import (
	"testing"

	"evergrant/internal/grant"
	"evergrant/internal/oauth"
)

// TestTexts: where the preset lists the whole text of an error, it decides, in
// whatever member it stands; a text that nobody listed decides nothing and is
// not shown.
func TestTexts(t *testing.T) {
	t.Parallel()
	cfg := oauth.Config{Codes: map[string]grant.Fate{
		"Token was used.": grant.Rejected, "invalid_request": grant.InDoubt, "Slow down": grant.Unspent,
	}}
	for name, tc := range map[string]struct {
		status int
		body   string
		fate   grant.Fate
		code   string
	}{
		"description":             {400, `{"error":"invalid_request","error_description":"Token was used."}`, grant.Rejected, "Token was used."},
		"message without a code":  {400, `{"status":400,"message":"Token was used."}`, grant.Rejected, "Token was used."},
		"reason":                  {401, `{"reason":"Token was used.","error":"invalid_request"}`, grant.Rejected, "Token was used."},
		"status":                  {400, `{"status":"Token was used.","message":"x"}`, grant.Rejected, "Token was used."},
		"with 200 and a code":     {200, `{"error":"invalid_request","error_description":"Token was used."}`, grant.Rejected, "Token was used."},
		"with 500":                {500, `{"error":"server_error","error_description":"Token was used."}`, grant.Rejected, "Token was used."},
		"another fate":            {400, `{"error":"unsupported_grant_type","message":"Slow down"}`, grant.Unspent, "Slow down"},
		"only a part":             {400, `{"error":"invalid_client","error_description":"Token was used. Really."}`, grant.Refused, "invalid_client"},
		"other case":              {400, `{"error":"invalid_client","error_description":"token was used."}`, grant.Refused, "invalid_client"},
		"another member":          {400, `{"error":"invalid_client","hint":"Token was used."}`, grant.Refused, "invalid_client"},
		"a list":                  {400, `{"error":"invalid_client","message":["Token was used."]}`, grant.Refused, "invalid_client"},
		"the code beside it":      {400, `{"error":"invalid_request","error_description":"no such parameter"}`, grant.InDoubt, "invalid_request"},
		"unlisted without a code": {400, `{"status":400,"message":"canary-presented-token"}`, grant.Refused, ""},
		"as a form":               {400, `error=invalid_request&error_description=Token+was+used.`, grant.Rejected, "Token was used."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, f := settle(t, cfg, tc.status, nil, tc.body, true)
			if f == nil {
				t.Fatal("taken as a token set")
			}
			if f.Fate != tc.fate || f.Code != tc.code {
				t.Errorf("%v by %q, want %v by %q", f.Fate, f.Code, tc.fate, tc.code)
			}
		})
	}
	// In a success such members are nobody's business.
	set, f := settle(t, cfg, 200, nil, fill(`{"access_token":"$A","refresh_token":"$R","message":"Token was used.","status":"Slow down"}`), true)
	wantTokens(t, set, f)
	// Cut, nothing decides but that it is cut.
	if _, f := settle(t, cfg, 400, nil, `{"error":"invalid_request","error_description":"Token was used."`, false); f == nil || f.Fate != grant.InDoubt {
		t.Errorf("a cut answer: %+v", f)
	}
}
