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
	// acts: the provider acts on the request, late: after the process has given
	// up. whole: its whole reply, or as much as the next refresh token needs,
	// reaches the process.
	acts, late, whole bool
	// By these a run shows that it met the fault: how far its request came, at
	// least how long it took, how many bytes of a reply reached it, and that the
	// port refuses the harness as well.
	reaches reach
	lasts   func(shape) time.Duration
	passes  func(shape) int
	refuses bool
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
	connectTimeout = 10 * time.Second / speed
	requestTimeout = 20 * time.Second / speed
	quiet          = 120 * time.Second / speed
	tooLate        = 3 * requestTimeout // below quiet
)

func poison(kind, stream string, a attributes) func(context.Context, *scene) error {
	return func(ctx context.Context, s *scene) error { return s.proxy.poison(ctx, kind, stream, a) }
}

// swallow drops the reply. toxiproxy ends a connection that its server ends, so
// that the front must keep it open.
func swallow(ctx context.Context, s *scene) error {
	s.front.keepOpen(true)
	return s.proxy.poison(ctx, "timeout", "downstream", attributes{"timeout": 0})
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

const dripSize = 16 // bytes

// drip cuts a stream into pieces with a pause after each.
func drip(stream string, pause time.Duration) func(context.Context, *scene) error {
	return poison("slicer", stream, attributes{"average_size": dripSize, "size_variation": 0, "delay": int(pause / time.Microsecond)})
}

// least is a duration of a run that a clock may show a little short.
func least(d time.Duration) func(shape) time.Duration {
	return func(shape) time.Duration { return d * 9 / 10 }
}

// inPieces is how long a reply takes that drip cuts up.
func inPieces(pause time.Duration) func(shape) time.Duration {
	return func(s shape) time.Duration { return time.Duration(s.end/dripSize) * pause * 9 / 10 }
}

func none(shape) int { return 0 }

func faults() []fault {
	all := append(requestFaults(), replyFaults()...)
	return append(append(all, tlsFaults()...), nonsenseFaults()...)
}

func requestFaults() []fault {
	const second = time.Second
	return []fault{
		{name: "connection refused", inflict: refuse, codes: []int{5}, says: []string{"connection refused"}, reaches: nowhere, refuses: true},
		{name: "connection refused for a second, the run waits", inflict: refuse, codes: []int{0}, acts: true, whole: true,
			heals: second, lasts: least(second), refuses: true},
		{name: "accepted, then closed at once", inflict: speaking(func(*front, net.Conn) {}), codes: []int{5, 4}, says: []string{"connection was closed", "connection was reset", saysDoubt},
			reaches: toSpeech, note: noteEarly},
		{name: "request lost: reset on its way", inflict: poison("reset_peer", "upstream", attributes{"timeout": 0}), codes: []int{4}, says: []string{saysDoubt},
			reaches: toConnection, passes: none},
		{name: "request swallowed, connection left open", inflict: poison("timeout", "upstream", attributes{"timeout": 0}), codes: []int{4}, says: []string{saysDoubt},
			reaches: toConnection, lasts: least(requestTimeout), passes: none},
		{name: "request dripping past the timeout", inflict: drip("upstream", 200*time.Millisecond), codes: []int{4}, says: []string{saysDoubt}, acts: true, late: true,
			reaches: toConnection, lasts: least(requestTimeout), note: "toxiproxy sends on what the process has left behind: the provider may act late, or never"},
	}
}

func replyFaults() []fault {
	latency := func(d time.Duration) func(context.Context, *scene) error {
		return poison("latency", "downstream", attributes{"latency": int(d / time.Millisecond), "jitter": 0})
	}
	doubt := func(name string, inflict func(context.Context, *scene) error) fault {
		return fault{name: name, inflict: inflict, codes: []int{4}, says: []string{saysDoubt}, acts: true}
	}
	fine := func(name string, inflict func(context.Context, *scene) error, lasts func(shape) time.Duration) fault {
		return fault{name: name, inflict: inflict, codes: []int{0}, acts: true, whole: true, lasts: lasts}
	}
	after := func(at func(shape) int, f fault) fault {
		f.inflict, f.passes = cut(at), at
		return f
	}
	silent := func(f fault, lasts func(shape) time.Duration) fault {
		f.passes, f.lasts = none, lasts
		return f
	}
	slow := func(f fault) fault { f.lasts = least(requestTimeout); return f }
	const pause = requestTimeout / 100
	atRate := func(s shape) time.Duration { return time.Duration(s.end) * time.Millisecond * 9 / 10 } // 1 KB/s
	return []fault{
		after(none, doubt("reply lost: closed", nil)),
		silent(doubt("reply lost: reset", poison("reset_peer", "downstream", attributes{"timeout": 0})), nil),
		silent(doubt("reply swallowed, connection left open", swallow), least(requestTimeout)),
		after(func(s shape) int { return s.body / 2 }, doubt("reply cut in its headers", nil)),
		after(func(s shape) int { return s.refresh - 30 }, doubt("reply cut before the refresh token", nil)),
		after(func(s shape) int { return s.refresh + 12 }, doubt("reply cut inside the refresh token", nil)),
		after(func(s shape) int { return s.refreshEnd + 2 }, fine("reply cut after the refresh token", nil, nil)),
		slow(doubt("reply later than the timeout", latency(tooLate))),
		fine("reply late, within the timeout", latency(requestTimeout/4), least(requestTimeout/4)),
		slow(doubt("reply dripping past the timeout", drip("downstream", requestTimeout/4))),
		fine("reply dripping, within the timeout", drip("downstream", pause), inPieces(pause)),
		fine("reply at 1 KB/s", poison("bandwidth", "downstream", attributes{"rate": 1}), atRate),
	}
}

func tlsFaults() []fault {
	swap := func(f func(*scene)) func(context.Context, *scene) error {
		return func(_ context.Context, s *scene) error { f(s); return nil }
	}
	away := func(name, says string, reaches reach, inflict func(context.Context, *scene) error) fault {
		f := fault{name: name, tls: true, inflict: inflict, codes: []int{5}, says: []string{says}, reaches: reaches}
		if says == saysLate {
			f.lasts = least(connectTimeout)
		}
		return f
	}
	all := []fault{
		away("HTTPS: certificate for another name", "certificate is not valid for", toHello, swap(func(s *scene) { s.front.present(s.papers.otherName, "http/1.1") })),
		away("HTTPS: certificate has expired", "certificate has expired", toHello, swap(func(s *scene) { s.front.present(s.papers.expired, "http/1.1") })),
		away("HTTPS: certificate of an unknown authority", "unknown authority", toHello, swap(func(s *scene) { s.front.present(s.papers.unknown, "http/1.1") })),
		away("HTTPS: server refuses HTTP/1.1 (ALPN)", "does not offer HTTP/1.1", toHello, swap(func(s *scene) { s.front.present(s.papers.good, "h3") })),
		{name: "HTTPS: server speaks HTTP/2 only", tls: true, inflict: speaking(utterSecurely(settingsFrame)),
			codes: []int{5, 4}, says: []string{"spoke before it was asked", saysDoubt}, reaches: toSpeech, note: noteRace},
		away("HTTPS: server speaks plain HTTP", "does not speak TLS", toSpeech, speaking(utter("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", true))),
		away("HTTPS: handshake stalls", saysLate, toConnection, poison("timeout", "downstream", attributes{"timeout": 0})),
		away("HTTPS: handshake reset", "connection was reset", toConnection, poison("reset_peer", "upstream", attributes{"timeout": 0})),
		{name: "HTTPS: the name does not resolve", tls: true, byName: true, codes: []int{5}, reaches: nowhere,
			inflict: swap(func(s *scene) { s.box.Unset("HTTPS_PROXY") }),
			says:    []string{"does not exist", "cannot be looked up", saysLate}},
		{name: "HTTPS: the proxy is gone", tls: true, byName: true, codes: []int{5}, reaches: nowhere,
			inflict: swap(func(s *scene) { s.tunnel.close() }), says: []string{"proxy "}},
	}
	return all
}

func nonsenseFaults() []fault {
	early := func(name, text string) fault {
		return fault{name: name, inflict: speaking(utter(text, false)), codes: []int{5, 4},
			says: []string{"spoke before it was asked", saysDoubt}, reaches: toSpeech, note: noteRace}
	}
	answer := func(name, text string, code int, says string) fault {
		return fault{name: name, inflict: speaking(utter(text, true)), codes: []int{code}, says: []string{says}, reaches: toSpeech}
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
