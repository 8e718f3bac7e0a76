package simulator

import (
	"bufio"
	"bytes"
	"io"
	"maps"
	"net"
	"net/http"
	"strconv"

	"evergrant/internal/grant"
)

const challengePage = "<!DOCTYPE html><html><head><title>Just a moment...</title></head>" +
	"<body><h1>Checking your browser</h1><p>Enable JavaScript and cookies to continue.</p></body></html>"

// dropUnread closes a connection whose request body nobody read.
func (s *Server) dropUnread(w http.ResponseWriter, f Fault) {
	if f.Before > 0 {
		s.cfg.Wait(s.done, f.Before)
	}
	s.mu.Lock()
	s.model.NoteDropped(s.now(), "", grant.Secret{})
	s.mu.Unlock()
	hangUp(w, f.Reset, nil)
}

// send answers with a, or with what the fault makes of it. The ledger is
// written first: whoever reads the answer finds it complete.
func (s *Server) send(w http.ResponseWriter, r *http.Request, f Fault, a answer) {
	s.noteSent(a.line, f, r.Context().Err() != nil)
	switch f.Kind {
	case "", FaultSlow:
		a.write(w)
	case FaultDrop:
		hangUp(w, f.Reset, nil)
	case FaultHalf:
		hangUp(w, f.Reset, partOf(a, f.Keep))
	case FaultDrip:
		s.drip(w, a, f)
	case FaultTruncated:
		a.body = a.body[:int(float64(len(a.body))*f.Keep)]
		a.write(w)
	case FaultContentType:
		a.header.Set("Content-Type", defaultTo(f.ContentType, "text/html; charset=utf-8"))
		a.write(w)
	case FaultHuge:
		s.huge(w, f)
	default:
		s.standIn(f).write(w)
	}
}

// noteSent writes into the ledger what becomes of the answer.
func (s *Server) noteSent(line int, f Fault, left bool) {
	if line == noLine {
		return
	}
	sent := SentDamaged
	switch f.Kind {
	case "", FaultSlow, FaultContentType:
		sent = SentWhole
	case FaultDrop:
		sent = SentNothing
	}
	if left {
		sent = SentNothing
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.model.NoteSent(line, sent)
}

// standIn is the answer that the fault gives in place of the true one.
func (s *Server) standIn(f Fault) answer {
	a := answer{status: f.Status, header: http.Header{}, body: []byte(f.Body), line: noLine}
	a.header.Set("Content-Type", defaultTo(f.ContentType, "text/plain; charset=utf-8"))
	switch f.Kind {
	case FaultStatus:
		if f.Body == "" {
			a.body = []byte(http.StatusText(f.Status) + "\n")
		}
		now := s.Now()
		if v := f.retryAfter(now); v != "" {
			a.header.Set("Retry-After", v)
			a.header.Set("Date", now.UTC().Format(http.TimeFormat)) // what a date in Retry-After is measured against
		}
	case FaultHTML:
		a.header.Set("Content-Type", "text/html; charset=utf-8")
		a.body = []byte(challengePage)
	case FaultNonsense:
		a.header.Set("Content-Type", "application/json")
		a.body = []byte("}{ [not, \"json\" \x00\xff")
	case FaultEmpty:
		a.body = nil
	case FaultRedirect:
		a.header.Set("Location", s.cfg.Path+"/userinfo")
	}
	return a
}

// drip sends the answer so slowly that only a deadline ends it.
func (s *Server) drip(w http.ResponseWriter, a answer, f Fault) {
	maps.Copy(w.Header(), a.header)
	w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	w.WriteHeader(a.status)
	flush := http.NewResponseController(w)
	for i := range a.body {
		if !s.cfg.Wait(s.done, f.Every) {
			return
		}
		if i == len(a.body)-1 {
			s.noteSent(a.line, Fault{}, false)
		}
		if _, err := w.Write(a.body[i : i+1]); err != nil || flush.Flush() != nil {
			return
		}
	}
}

// huge sends a JSON string that does not end before Size bytes, until the
// client has had enough.
func (s *Server) huge(w http.ResponseWriter, f Fault) {
	w.Header().Set("Content-Type", "application/json")
	chunk := bytes.Repeat([]byte("a"), 64<<10)
	left := f.Size
	n, err := io.WriteString(w, `{"access_token":"`)
	for left -= int64(n); err == nil && left > 0; left -= int64(n) {
		select {
		case <-s.done:
			return
		default:
		}
		n, err = w.Write(chunk[:min(left, int64(len(chunk)))])
	}
}

// partOf is the beginning of the answer on the wire: all of the head, which
// promises the whole body, and a part of it.
func partOf(a answer, keep float64) []byte {
	var b bytes.Buffer
	res := http.Response{
		StatusCode: a.status, ProtoMajor: 1, ProtoMinor: 1, Header: a.header,
		ContentLength: int64(len(a.body)), Body: io.NopCloser(bytes.NewReader(a.body)),
	}
	_ = res.Write(&b) // neither the buffer nor the body can fail
	return b.Bytes()[:b.Len()-len(a.body)+int(float64(len(a.body))*keep)]
}

// hangUp writes last, if any, and closes the connection: orderly, or with a
// reset.
func hangUp(w http.ResponseWriter, reset bool, last []byte) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil { // not a connection: a recorder, or a proxy's writer
		http.Error(w, "the simulator cannot drop this kind of connection", http.StatusInternalServerError)
		return
	}
	writeAndClose(conn, buffered, reset, last)
}

func writeAndClose(conn net.Conn, buffered *bufio.ReadWriter, reset bool, last []byte) {
	_, _ = buffered.Write(last) // the peer may be gone, which is what we want
	_ = buffered.Flush()
	raw := conn
	if wrapped, ok := conn.(interface{ NetConn() net.Conn }); ok {
		raw = wrapped.NetConn()
	}
	if t, ok := raw.(*net.TCPConn); ok && reset {
		_ = t.SetLinger(0)
		_ = t.Close()
	}
	_ = conn.Close()
}
