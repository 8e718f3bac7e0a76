package simulator

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"evergrant/internal/grant"
)

// AdminHeader carries [Server.AdminSecret] to the /_sim endpoints, so that a
// simulator on a shared host is not everybody's.
const AdminHeader = "Evergrant-Simulator-Secret"

// Paths of the admin endpoints, which lie outside Config.Path. Requests and
// answers are JSON; a mistake is 400 and one line of text.
const (
	LedgerPath   = "/_sim/ledger"   // GET: a Ledger
	FaultsPath   = "/_sim/faults"   // GET, PUT: a list of texts that ParseFault reads; PUT replaces all
	FamiliesPath = "/_sim/families" // POST a FamilyRequest: an IssuedFamily
	ClockPath    = "/_sim/clock"    // POST {"advance":"36h"}: {"now":…}
	RevokePath   = "/_sim/revoke"   // POST {"family":"family-1"}: {"revoked":true}
)

// FamilyRequest asks for a fresh consent. Client may be empty when only one is
// registered.
type FamilyRequest struct {
	Client string   `json:"client"`
	Scope  []string `json:"scope"`
}

// IssuedFamily answers a [FamilyRequest]. It is the one admin answer with a
// token in it, and it is plain because it is about to be put on a wire or was
// read from one.
type IssuedFamily struct {
	Family       string `json:"family"`
	Client       string `json:"client"`
	RefreshToken string `json:"refresh_token"`
	Digest       string `json:"digest"`
}

func (s *Server) adminRoutes(mux *http.ServeMux) {
	route := func(pattern string, serve func(r *http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if !s.admin.Equal(grant.NewSecret(r.Header.Get(AdminHeader))) {
				http.Error(w, "the header "+AdminHeader+" must hold the secret that the simulator printed at its start", http.StatusForbidden)
				return
			}
			v, err := serve(r)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Cache-Control", "no-store")
			_ = json.NewEncoder(w).Encode(v) // the asker left
		})
	}
	route("GET "+LedgerPath, func(*http.Request) (any, error) { return s.Ledger(), nil })
	route("GET "+FaultsPath, func(*http.Request) (any, error) { return s.faultTexts(), nil })
	route("PUT "+FaultsPath, s.putFaults)
	route("POST "+FamiliesPath, s.postFamily)
	route("POST "+ClockPath, s.postClock)
	route("POST "+RevokePath, func(r *http.Request) (any, error) {
		var ask struct {
			Family string `json:"family"`
		}
		if err := readAdmin(r, &ask); err != nil {
			return nil, err
		}
		return map[string]bool{"revoked": s.RevokeFamily(ask.Family)}, nil
	})
}

func (s *Server) faultTexts() []string {
	texts := []string{}
	for _, f := range s.Faults() {
		texts = append(texts, f.String())
	}
	return texts
}

func (s *Server) putFaults(r *http.Request) (any, error) {
	var texts []string
	if err := readAdmin(r, &texts); err != nil {
		return nil, err
	}
	var faults []Fault
	for _, text := range texts {
		f, err := ParseFault(text)
		if err != nil {
			return nil, err
		}
		faults = append(faults, f)
	}
	if err := s.SetFaults(faults...); err != nil {
		return nil, err
	}
	return s.faultTexts(), nil
}

func (s *Server) postFamily(r *http.Request) (any, error) {
	var ask FamilyRequest
	if err := readAdmin(r, &ask); err != nil {
		return nil, err
	}
	if ask.Client == "" && len(s.cfg.Clients) == 1 {
		ask.Client = s.cfg.Clients[0].ID
	}
	reply, err := s.IssueFamily(ask.Client, ask.Scope...)
	if err != nil {
		return nil, err
	}
	return IssuedFamily{reply.Family, ask.Client, reply.Refresh.Reveal(), reply.Refresh.Digest()}, nil
}

func (s *Server) postClock(r *http.Request) (any, error) {
	var ask struct {
		Advance string `json:"advance"`
	}
	if err := readAdmin(r, &ask); err != nil {
		return nil, err
	}
	d, err := time.ParseDuration(ask.Advance)
	if err != nil {
		return nil, errors.New("advance must be a duration such as 36h")
	}
	s.Advance(d)
	return map[string]time.Time{"now": s.Now()}, nil
}

func readAdmin(r *http.Request, v any) error {
	d := json.NewDecoder(io.LimitReader(r.Body, maxBody))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("the body must be JSON of the right shape: %w", err)
	}
	return nil
}
