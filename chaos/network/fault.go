package main

import (
	"context"
	"net"
	"time"
)

// fault is one thing that a network does to a refresh, and what must come of
// it. Codes are evergrant's exit codes.
type fault struct {
	name string
	// tls: over HTTPS; byName: to a name that only the tunnel can reach.
	tls, byName bool
	inflict     func(context.Context, *scene) error
	// codes are the exit codes that are right, the usual one first; says are
	// the words of which the error line holds one.
	codes []int
	says  []string
	// acts: the provider acts on the request. whole: its whole reply, or as
	// much as the next refresh token needs, reaches the process.
	acts, whole bool
	// heals: the fault ends by itself while the run waits.
	heals time.Duration
	note  string
}

// Words that belong to exit codes.
const (
	saysDoubt = "in doubt: a reply was lost"
	saysLate  = "no connection within"
	noteRace  = "exit 4 where the request was quicker than the nonsense"
	noteEarly = "exit 4 where the request was quicker than the end of the connection"
)

// settingsFrame is how an HTTP/2 server begins (RFC 9113 §3.4).
const settingsFrame = "\x00\x00\x00\x04\x00\x00\x00\x00\x00"

// Times of the harness, at the speed of its calls; see speed.
const (
	requestTimeout = 20 * time.Second / speed
	quiet          = 120 * time.Second / speed
	tooLate        = 3 * requestTimeout // below quiet
)

func poison(kind, stream string, a attributes) func(context.Context, *scene) error {
	return func(ctx context.Context, s *scene) error { return s.proxy.poison(ctx, kind, stream, a) }
}

// cut lets so many bytes of the reply through.
func cut(at func(shape) int) func(context.Context, *scene) error {
	return func(ctx context.Context, s *scene) error {
		return s.proxy.poison(ctx, "limit_data", "downstream", attributes{"bytes": at(s.shape)})
	}
}

func speaking(speak func(*front, net.Conn)) func(context.Context, *scene) error {
	return func(_ context.Context, s *scene) error { s.front.say(speak); return nil }
}

func refuse(ctx context.Context, s *scene) error { return s.proxy.enable(ctx, false) }

// drip cuts a stream into pieces of 16 bytes with a pause after each.
func drip(stream string, pause time.Duration) func(context.Context, *scene) error {
	return poison("slicer", stream, attributes{"average_size": 16, "size_variation": 0, "delay": int(pause / time.Microsecond)})
}

func faults() []fault {
	all := append(requestFaults(), replyFaults()...)
	return append(append(all, tlsFaults()...), nonsenseFaults()...)
}

func requestFaults() []fault {
	return []fault{
		{name: "connection refused", inflict: refuse, codes: []int{5}, says: []string{"connection refused"}},
		{name: "connection refused for a second, the run waits", inflict: refuse, codes: []int{0}, acts: true, whole: true, heals: time.Second},
		{name: "accepted, then closed at once", inflict: speaking(func(*front, net.Conn) {}), codes: []int{5, 4}, says: []string{"connection was closed", "connection was reset", saysDoubt},
			note: noteEarly},
		{name: "request lost: reset on its way", inflict: poison("reset_peer", "upstream", attributes{"timeout": 0}), codes: []int{4}, says: []string{saysDoubt}},
		{name: "request swallowed, connection left open", inflict: poison("timeout", "upstream", attributes{"timeout": 0}), codes: []int{4}, says: []string{saysDoubt}},
		{name: "request dripping past the timeout", inflict: drip("upstream", 200*time.Millisecond), codes: []int{4}, says: []string{saysDoubt}, acts: true,
			note: "toxiproxy sends on what the process has left behind: the provider may act late, or never"},
	}
}

func replyFaults() []fault {
	latency := func(d time.Duration) func(context.Context, *scene) error {
		return poison("latency", "downstream", attributes{"latency": int(d / time.Millisecond), "jitter": 0})
	}
	doubt := func(name string, inflict func(context.Context, *scene) error) fault {
		return fault{name: name, inflict: inflict, codes: []int{4}, says: []string{saysDoubt}, acts: true}
	}
	fine := func(name string, inflict func(context.Context, *scene) error) fault {
		return fault{name: name, inflict: inflict, codes: []int{0}, acts: true, whole: true}
	}
	return []fault{
		doubt("reply lost: closed", cut(func(shape) int { return 0 })),
		doubt("reply lost: reset", poison("reset_peer", "downstream", attributes{"timeout": 0})),
		doubt("reply swallowed, connection left open", poison("timeout", "downstream", attributes{"timeout": 0})),
		doubt("reply cut in its headers", cut(func(s shape) int { return s.body / 2 })),
		doubt("reply cut before the refresh token", cut(func(s shape) int { return s.refresh - 30 })),
		doubt("reply cut inside the refresh token", cut(func(s shape) int { return s.refresh + 12 })),
		fine("reply cut after the refresh token", cut(func(s shape) int { return s.refreshEnd + 2 })),
		doubt("reply later than the timeout", latency(tooLate)),
		fine("reply late, within the timeout", latency(requestTimeout/4)),
		doubt("reply dripping past the timeout", drip("downstream", requestTimeout/4)),
		fine("reply dripping, within the timeout", drip("downstream", requestTimeout/100)),
		fine("reply at 1 KB/s", poison("bandwidth", "downstream", attributes{"rate": 1})),
	}
}

func tlsFaults() []fault {
	swap := func(f func(*scene)) func(context.Context, *scene) error {
		return func(_ context.Context, s *scene) error { f(s); return nil }
	}
	away := func(name, says string, inflict func(context.Context, *scene) error) fault {
		return fault{name: name, tls: true, inflict: inflict, codes: []int{5}, says: []string{says}}
	}
	all := []fault{
		away("HTTPS: certificate for another name", "certificate is not valid for", swap(func(s *scene) { s.front.present(s.papers.otherName, "http/1.1") })),
		away("HTTPS: certificate has expired", "certificate has expired", swap(func(s *scene) { s.front.present(s.papers.expired, "http/1.1") })),
		away("HTTPS: certificate of an unknown authority", "unknown authority", swap(func(s *scene) { s.front.present(s.papers.unknown, "http/1.1") })),
		away("HTTPS: server refuses HTTP/1.1 (ALPN)", "does not offer HTTP/1.1", swap(func(s *scene) { s.front.present(s.papers.good, "h3") })),
		{name: "HTTPS: server speaks HTTP/2 only", tls: true, inflict: speaking(utterSecurely(settingsFrame)),
			codes: []int{5, 4}, says: []string{"spoke before it was asked", saysDoubt}, note: noteRace},
		away("HTTPS: server speaks plain HTTP", "does not speak TLS", speaking(utter("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", true))),
		away("HTTPS: handshake stalls", saysLate, poison("timeout", "downstream", attributes{"timeout": 0})),
		away("HTTPS: handshake reset", "connection was reset", poison("reset_peer", "upstream", attributes{"timeout": 0})),
		{name: "HTTPS: the name does not resolve", tls: true, byName: true, codes: []int{5},
			inflict: swap(func(s *scene) { s.box.Unset("HTTPS_PROXY") }),
			says:    []string{"does not exist", "cannot be looked up", saysLate}},
		{name: "HTTPS: the proxy is gone", tls: true, byName: true, codes: []int{5},
			inflict: swap(func(s *scene) { s.tunnel.close() }), says: []string{"proxy "}},
	}
	return all
}

func nonsenseFaults() []fault {
	early := func(name, text string) fault {
		return fault{name: name, inflict: speaking(utter(text, false)), codes: []int{5, 4},
			says: []string{"spoke before it was asked", saysDoubt}, note: noteRace}
	}
	answer := func(name, text string, code int, says string) fault {
		return fault{name: name, inflict: speaking(utter(text, true)), codes: []int{code}, says: []string{says}}
	}
	return []fault{
		early("server greets with an SSH banner", "SSH-2.0-OpenSSH_9.2p1\r\n"),
		early("server speaks HTTP/2 in the clear", settingsFrame),
		answer("server answers HTTP/0.9", "<html>It works!</html>\n", 4, saysDoubt),
		answer("server answers binary", "\x16\x03\x01\x00\xff\x00\x1b\x9c\x80\x81\r\n\r\n\x00", 4, saysDoubt),
		answer("server answers 200 and not a word more", "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 0\r\n\r\n", 4, saysDoubt),
		answer("a captive portal's page", "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 28\r\n\r\n<html><body>Hi</body></html>", 4, saysDoubt),
		answer("a captive portal's redirect", "HTTP/1.1 302 Found\r\nLocation: http://portal.example/login\r\nContent-Length: 0\r\n\r\n", 10, "answered a redirect"),
	}
}
