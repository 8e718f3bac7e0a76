package simulator

import (
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"

	"evergrant/internal/grant"
)

// Server is one simulated provider. All methods are safe for concurrent use.
type Server struct {
	cfg     Config
	clients map[string]Client
	admin   grant.Secret
	handler http.Handler

	mu        sync.Mutex
	model     *Model
	offset    time.Duration
	faults    faultQueue
	pending   int // token requests read and held back by a fault
	codes     map[string]*authorization
	asked     map[string]*authorization // shown to a person, by form id
	devices   map[string]*device        // by device code
	assertion map[string]time.Time      // digests of jti seen, until they expire
	base      string                    // URL of Start
	ca        []byte

	closed   bool
	done     chan struct{} // closed by Close: ends every delay
	requests sync.WaitGroup
	http     *http.Server
	serving  chan struct{} // closed when the listener's goroutine has ended
}

// New returns a provider that serves through its Handler, or, after Start, on
// an address of its own. Close it in either case.
func New(c Config) (*Server, error) {
	c = c.withDefaults()
	if err := c.check(); err != nil {
		return nil, err
	}
	m, err := NewModel(c.Rules, c.NewToken)
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg: c, clients: map[string]Client{}, admin: grant.NewSecret("sim-admin-" + rand.Text()), model: m,
		faults: faultQueue{rng: mathrand.New(mathrand.NewPCG(c.Seed, 0))},
		codes:  map[string]*authorization{}, asked: map[string]*authorization{}, devices: map[string]*device{},
		assertion: map[string]time.Time{}, done: make(chan struct{}),
	}
	for _, cl := range c.Clients {
		s.clients[cl.ID] = cl
	}
	s.handler = s.routes()
	return s, nil
}

func (s *Server) routes() http.Handler {
	mux, p := http.NewServeMux(), s.cfg.Path
	mux.HandleFunc(p+"/token", s.serveToken)
	mux.HandleFunc(p+"/authorize", s.serveAuthorize)
	mux.HandleFunc(p+"/callback", s.serveCallback)
	mux.HandleFunc(p+"/device_authorization", s.serveDeviceAuthorization)
	mux.HandleFunc(p+"/device", s.serveDevicePage)
	mux.HandleFunc(p+"/revoke", s.serveRevoke)
	mux.HandleFunc(p+"/introspect", s.serveIntrospect)
	mux.HandleFunc(p+"/userinfo", s.serveUserinfo)
	if !s.cfg.NoRFC8414 {
		mux.HandleFunc("/.well-known/oauth-authorization-server"+p, s.serveDiscovery)
	}
	if !s.cfg.NoOpenID {
		mux.HandleFunc(p+"/.well-known/openid-configuration", s.serveDiscovery)
	}
	s.adminRoutes(mux)
	return mux
}

// Handler serves the provider, for a server of the caller's. Issuer and
// endpoints follow the Host of each request.
func (s *Server) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 1 {
			http.Error(w, "the simulator speaks HTTP/1.1 only", http.StatusHTTPVersionNotSupported)
			return
		}
		s.mu.Lock()
		closed := s.closed
		if !closed {
			s.requests.Add(1)
		}
		s.mu.Unlock()
		if closed {
			http.Error(w, "the simulator is closed", http.StatusServiceUnavailable)
			return
		}
		defer s.requests.Done()
		s.handler.ServeHTTP(w, r)
	})
}

// Start listens on addr ("": a free port of 127.0.0.1) and returns the
// issuer's URL. It may be called once.
func (s *Server) Start(addr string) (url string, err error) {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.http != nil {
		return "", errors.New("simulator: started twice, or closed")
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return "", fmt.Errorf("simulator: %w", err)
	}
	host, scheme := reachable(l.Addr()), "http"
	s.http = &http.Server{
		Handler: s.Handler(), ReadHeaderTimeout: 30 * time.Second,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError), // clients that leave are the point here
	}
	if s.cfg.TLS {
		cert, ca, err := selfMade(host)
		if err != nil {
			return "", errors.Join(err, l.Close())
		}
		s.ca, scheme = ca, "https"
		l = tls.NewListener(l, &tls.Config{
			Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"},
		})
	}
	s.base = scheme + "://" + host
	s.serving = make(chan struct{})
	go func() {
		defer close(s.serving)
		_ = s.http.Serve(l) // ErrServerClosed after Close; there is nobody else to tell
	}()
	return s.base + s.cfg.Path, nil
}

// reachable turns a listener's address into one that can be dialled.
func reachable(a net.Addr) string {
	host, port, err := net.SplitHostPort(a.String())
	if ip := net.ParseIP(host); err == nil && ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// Close ends all delays, connections and the listener, and waits for the
// requests under way. A delayed request that has not acted never will. It is
// safe to call twice. Call it before closing a server of one's own that uses
// Handler, which might wait for a delay.
func (s *Server) Close() error {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.done)
	}
	own := s.http
	s.mu.Unlock()
	var err error
	if own != nil {
		err = own.Close()
		<-s.serving
	}
	s.requests.Wait()
	return err
}

// CA is the certificate authority of a server started with TLS, in PEM; nil
// for others.
func (s *Server) CA() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ca
}

// AdminSecret is what the header [AdminHeader] must carry for /_sim endpoints.
func (s *Server) AdminSecret() grant.Secret { return s.admin }

// Now is the provider's clock.
func (s *Server) Now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now()
}

// now is Now for those who hold mu.
func (s *Server) now() time.Time { return s.cfg.Now().Add(s.offset) }

// Advance lets time pass at the provider.
func (s *Server) Advance(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offset += d
}

// SetFaults replaces the faults that are still to come; none clears them.
func (s *Server) SetFaults(faults ...Fault) error {
	queue := make([]Fault, 0, len(faults))
	for _, f := range faults {
		if err := f.check(); err != nil {
			return err
		}
		if f.Times == 0 && f.Chance == 0 {
			f.Times = 1
		}
		queue = append(queue, f)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.faults = queue
	return nil
}

// Faults returns the faults that are still to come.
func (s *Server) Faults() []Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Fault{}, s.faults.faults...)
}

// IssueFamily records a consent for a registered client and returns its first
// tokens.
func (s *Server) IssueFamily(client string, scope ...string) (Reply, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.clients[client]
	if !ok {
		return Reply{}, fmt.Errorf("simulator: no client %q is registered", client)
	}
	if !c.allows(scope) {
		return Reply{}, fmt.Errorf("simulator: client %q may not ask for scope %q", client, scope)
	}
	return s.model.NewFamily(s.now(), client, scope...), nil
}

// Ledger is a snapshot of everything that was presented, and of all families.
func (s *Server) Ledger() Ledger {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.model.Ledger(s.now())
	l.Pending = s.pending
	return l
}

// Presentations returns every presentation of one refresh token, by digest.
func (s *Server) Presentations(digest string) []Presentation {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.model.Presentations(digest)
}

// Standing returns what is known of one family; false when there is none.
func (s *Server) Standing(family string) (Standing, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.model.Standing(s.now(), family)
}

// FamilyOf names the family of a refresh token, by digest; "" if unknown.
func (s *Server) FamilyOf(digest string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.model.FamilyOf(digest)
}

// AccessValid reports whether /userinfo accepts the access token now.
func (s *Server) AccessValid(access grant.Secret) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.model.AccessValid(s.now(), access)
}

// Usable reports whether presenting the refresh token now would be answered
// with tokens.
func (s *Server) Usable(refresh grant.Secret) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.model.Usable(s.now(), refresh)
}

// RevokeFamily ends a family, as its owner could. It reports whether there was
// a living one.
func (s *Server) RevokeFamily(family string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.model.RevokeFamily(s.now(), family)
}

// issuer is the URL below which r finds the endpoints.
func (s *Server) issuer(r *http.Request) string {
	s.mu.Lock()
	base := s.base
	s.mu.Unlock()
	switch {
	case base != "":
	case r.TLS != nil:
		base = "https://" + r.Host
	default:
		base = "http://" + r.Host
	}
	return base + s.cfg.Path
}
