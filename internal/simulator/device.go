package simulator

import (
	"crypto/rand"
	"errors"
	"html"
	"net/http"
	"strings"
	"time"
)

// device is one device authorization (RFC 8628).
type device struct {
	client   string
	userCode string
	scope    []string
	issued   time.Time
	interval time.Duration
	polled   time.Time // zero: never
	polls    int
	decision Approval // ApproveAsk while undecided
	used     bool
}

// errNoDevice says that no device waits with that user code.
var errNoDevice = errors.New("simulator: no device waits with this user code")

// serveDeviceAuthorization is RFC 8628 §3.1.
func (s *Server) serveDeviceAuthorization(w http.ResponseWriter, r *http.Request) {
	p, bad := readParams(r, s.cfg.Wire.Body)
	var c Client
	if bad == nil {
		c, bad = s.authenticate(r, p)
	}
	if bad == nil && !c.allows(s.scopes(p)) {
		bad = fail("invalid_scope", "the client may not ask for that scope")
	}
	if bad != nil {
		s.failed(r, bad, noLine).write(w)
		return
	}
	d := &device{
		client: c.ID, scope: s.scopes(p), interval: s.cfg.DeviceInterval, decision: ApproveAsk, userCode: userCode(),
	}
	code, verify := "sim-device-"+rand.Text(), s.issuer(r)+"/device"
	s.mu.Lock()
	d.issued = s.now()
	s.devices[code] = d
	s.mu.Unlock()
	jsonAnswer(http.StatusOK, map[string]any{
		"device_code": code, "user_code": d.userCode, "verification_uri": verify,
		"verification_uri_complete": verify + "?user_code=" + d.userCode,
		"expires_in":                int64(s.cfg.DeviceLife / time.Second), "interval": int64((d.interval + time.Second - 1) / time.Second),
	}).write(w)
}

// userCode is eight letters with a dash, without vowels and look-alikes (RFC
// 8628 §6.1).
func userCode() string {
	const letters = "BCDFGHJKLMNPQRSTVWXZ"
	text := make([]byte, 0, 9)
	for _, b := range []byte(rand.Text())[:8] {
		if len(text) == 4 {
			text = append(text, '-')
		}
		text = append(text, letters[int(b)%len(letters)])
	}
	return string(text)
}

// DecideDevice approves or denies the device that shows userCode, as the
// person at /device would.
func (s *Server) DecideDevice(userCode string, approve bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.devices {
		if !strings.EqualFold(strings.ReplaceAll(d.userCode, "-", ""), strings.ReplaceAll(userCode, "-", "")) {
			continue
		}
		if d.decision != ApproveAsk || s.deviceOver(d) {
			return errNoDevice
		}
		d.decision = ApproveDeny
		if approve {
			d.decision = ApproveAuto
		}
		return nil
	}
	return errNoDevice
}

func (s *Server) deviceOver(d *device) bool { return s.now().Sub(d.issued) >= s.cfg.DeviceLife }

// serveDevicePage is where the person types the code (RFC 8628 §3.3).
func (s *Server) serveDevicePage(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		page(w, http.StatusOK, `<form method="post"><label>Code <input name="user_code" value="`+
			html.EscapeString(r.URL.Query().Get("user_code"))+`"></label>
<button name="decision" value="approve">Approve</button> <button name="decision" value="deny">Deny</button></form>`)
		return
	}
	p, bad := readParams(r, BodyForm)
	switch {
	case bad != nil:
		page(w, http.StatusBadRequest, "<p>"+html.EscapeString(bad.text)+"</p>")
	case s.DecideDevice(p["user_code"], p["decision"] == "approve") != nil:
		page(w, http.StatusBadRequest, "<p>No device waits with this code.</p>")
	default:
		page(w, http.StatusOK, "<p>Done. The device goes on by itself.</p>")
	}
}

// actDevice is one poll (RFC 8628 §3.5).
func (s *Server) actDevice(c Client, p params) (Reply, *failure) {
	if !p.has("device_code") {
		return Reply{}, fail("invalid_request", "device_code is missing")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	d, now := s.devices[p["device_code"]], s.now()
	if d == nil || d.client != c.ID || d.used {
		return Reply{}, fail("invalid_grant", "the device code was not accepted")
	}
	if s.deviceOver(d) {
		return Reply{}, fail("expired_token", "the device code is over")
	}
	early := !d.polled.IsZero() && now.Sub(d.polled) < d.interval
	d.polled = now
	if early {
		d.interval += 5 * time.Second
		return Reply{}, fail("slow_down", "polled before the interval was over")
	}
	d.polls++
	if d.decision == ApproveAsk && d.polls > s.cfg.DevicePolls {
		d.decision = s.cfg.Approve
	}
	switch d.decision {
	case ApproveAsk:
		return Reply{}, fail("authorization_pending", "nobody has decided yet")
	case ApproveDeny:
		d.used = true
		return Reply{}, fail("access_denied", "the person declined")
	}
	d.used = true
	return s.model.NewFamily(now, c.ID, d.scope...), nil
}
