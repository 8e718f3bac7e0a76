// Package double is a stand-in for GitHub's API of Actions secrets and of issues, for tests: a
// server with state that opens what is sealed to its keys. Every exchange is
// checked against GitHub's own OpenAPI description, in both directions, so that
// neither the client nor the double can drift from it unseen.
//
// What the description does not say is modelled on GitHub's documentation and on
// what its own client expects, not on the live service: the refusals, the rate
// limits, and that updated_at has whole seconds.
package double

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/nacl/box"
)

// Access is what a token may do.
type Access uint8

// Kinds of access. A token that was not allowed anything is unknown (401).
const (
	Unknown  Access = iota
	Write           // reads and writes secrets
	Read            // reads descriptions only
	Unseeing        // does not see the repository
	Job             // a job's own GITHUB_TOKEN: no secret at all
	Unsigned        // not authorized for the organization's single sign-on
)

// Config of a double; the zero value is usable.
type Config struct {
	Now func() time.Time // GitHub's clock; nil: time.Now
	// Step moves GitHub's clock on with each look at a secret's description, so
	// that a test does not wait for seconds to pass.
	Step time.Duration
	// Skew is by how much the Date of answers is ahead of the clock of secrets.
	Skew time.Duration
}

// Server is the double. Its methods are safe for concurrent use.
type Server struct {
	// URL is the base address of the API, without a slash at its end.
	URL string

	rules  *rules
	now    func() time.Time
	step   time.Duration
	skew   time.Duration
	server *http.Server
	hidden chan struct{} // closed by Close; ends what hangs

	mu      sync.Mutex
	passed  time.Duration // by Step and Pass
	tokens  map[string]Access
	places  map[string]*place // by OWNER/REPO or OWNER/REPO:ENVIRONMENT, in small letters
	faults  []*Fault
	seen    []Request
	amiss   []string
	lag     int // so many descriptions are of before the latest write
	renamed map[string]bool

	issues               []*Issue
	issuers              map[string]bool // tokens that read issues; true: and write them
	unlabelled, noIssues bool
}

// place is what has secrets and a key: a repository or an environment.
type place struct {
	keyID           string
	public, private *[32]byte
	secrets         map[string]*kept
}

type kept struct {
	value            string
	created, updated time.Time
	before           time.Time // updated, as it was before the latest write
}

// Request is one exchange, for a test's ledger.
type Request struct {
	Method, Path string
	Status       int // 0: the connection was cut
	UserAgent    string
	Token        string // what was presented
}

// New starts a double on a port of the loopback address.
func New(c Config) (*Server, error) {
	r, err := newRules()
	if err != nil {
		return nil, err
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	s := &Server{
		URL: "http://" + l.Addr().String(), rules: r, now: c.Now, step: c.Step, skew: c.Skew, hidden: make(chan struct{}),
		tokens: map[string]Access{}, places: map[string]*place{}, renamed: map[string]bool{},
		issuers: map[string]bool{},
	}
	s.server = &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = s.server.Serve(l) }() // ends with Close
	return s, nil
}

// Close ends the server and every connection.
func (s *Server) Close() error {
	close(s.hidden)
	return s.server.Close()
}

// AddRepository makes a repository, written OWNER/REPO, and its environments.
func (s *Server) AddRepository(name string, environments ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, of := range append([]string{name}, suffixed(name, environments)...) {
		public, private, err := box.GenerateKey(rand.Reader)
		if err != nil {
			return fmt.Errorf("making a key: %w", err)
		}
		s.places[strings.ToLower(of)] = &place{keyID: rand.Text(), public: public, private: private, secrets: map[string]*kept{}}
	}
	return nil
}

func suffixed(name string, environments []string) []string {
	all := make([]string, len(environments))
	for i, e := range environments {
		all[i] = name + ":" + e
	}
	return all
}

// Rename makes a repository answer that it has moved.
func (s *Server) Rename(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.renamed[strings.ToLower(name)] = true
}

// Allow says what a token may do.
func (s *Server) Allow(token string, a Access) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens[token] = a
}

// ErrNoPlace: a test names a repository or environment that was not made.
var ErrNoPlace = errors.New("there is no such repository or environment here")

// Set writes a secret as a person does. A place is OWNER/REPO or
// OWNER/REPO:ENVIRONMENT.
func (s *Server) Set(where, name, value string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.places[strings.ToLower(where)]
	if !ok {
		return ErrNoPlace
	}
	p.put(name, value, s.clock())
	return nil
}

// Remove deletes a secret as a person does.
func (s *Server) Remove(where, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p, ok := s.places[strings.ToLower(where)]; ok {
		delete(p.secrets, strings.ToUpper(name))
	}
}

func (p *place) put(name, value string, now time.Time) (created bool) {
	name = strings.ToUpper(name)
	if k, ok := p.secrets[name]; ok {
		k.value, k.before, k.updated = value, k.updated, now
		return false
	}
	p.secrets[name] = &kept{value, now, now, now}
	return true
}

// Value is what a secret holds, which GitHub tells to nobody but a job.
func (s *Server) Value(where, name string) (value string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p, found := s.places[strings.ToLower(where)]; found {
		if k, found := p.secrets[strings.ToUpper(name)]; found {
			return k.value, true
		}
	}
	return "", false
}

// Names lists the secrets of a place, sorted.
func (s *Server) Names(where string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	if p, ok := s.places[strings.ToLower(where)]; ok {
		for name := range p.secrets {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// RotateKey gives a place another key, as GitHub may at any time.
func (s *Server) RotateKey(where string) error {
	public, private, err := box.GenerateKey(rand.Reader)
	if err != nil {
		return fmt.Errorf("making a key: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.places[strings.ToLower(where)]
	if !ok {
		return ErrNoPlace
	}
	p.keyID, p.public, p.private = rand.Text(), public, private
	return nil
}

// Pass moves GitHub's clock on.
func (s *Server) Pass(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.passed += d
}

// Lag makes the next n descriptions of a secret tell of before its latest write,
// as a replica that is behind does.
func (s *Server) Lag(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lag = n
}

// clock has whole seconds, as the API's times have. The caller holds mu.
func (s *Server) clock() time.Time { return s.now().Add(s.passed).UTC().Truncate(time.Second) }

// Requests is the ledger so far.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}

// Written counts the writes of one secret that were acted upon.
func (s *Server) Written(name string) int {
	n := 0
	for _, r := range s.Requests() {
		if r.Method == http.MethodPut && strings.HasSuffix(r.Path, "/"+strings.ToUpper(name)) && (r.Status == http.StatusCreated || r.Status == http.StatusNoContent) {
			n++
		}
	}
	return n
}

// Violations are the exchanges that GitHub's description does not allow, and
// what its documentation demands besides. A test ends with none.
func (s *Server) Violations() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.amiss)
}

func (s *Server) blame(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.amiss = append(s.amiss, fmt.Sprintf(format, args...))
}

// open returns the text that was sealed to the place's key.
func (p *place) open(encoded, keyID string) (string, bool) {
	sealed, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || keyID != p.keyID {
		return "", false
	}
	plain, ok := box.OpenAnonymous(nil, sealed, p.public, p.private)
	return string(plain), ok
}
