package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// errStuck: toxiproxy did not do what it was told. About once in a thousand
// changes of a toxic under an open connection it answers no more, and the port
// of a proxy that refuses may be taken by another process. Each trial has a
// toxiproxy of its own, and is repeated.
var errStuck = errors.New("toxiproxy did not do what it was told")

// toxiproxy is one server process of Shopify's toxiproxy, driven by its HTTP
// interface.
type toxiproxy struct {
	url    string
	client http.Client
	cmd    *exec.Cmd
	ended  chan struct{}
}

// startToxiproxy runs the server on a free port until stop.
func startToxiproxy(ctx context.Context, binary string) (*toxiproxy, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	t := &toxiproxy{
		url: "http://127.0.0.1:" + port, client: http.Client{Timeout: 10 * time.Second},
		cmd: exec.Command(binary, "-host", "127.0.0.1", "-port", port, "-proxy-metrics"), ended: make(chan struct{}),
	}
	t.cmd.Env = []string{"LOG_LEVEL=fatal"}
	if err := t.cmd.Start(); err != nil {
		return nil, fmt.Errorf("toxiproxy: %w", err)
	}
	go func() { defer close(t.ended); _ = t.cmd.Wait() }()
	for deadline := time.Now().Add(10 * time.Second); ; {
		if err = t.call(ctx, http.MethodGet, "/version", nil, nil); err == nil {
			return t, nil
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			t.stop()
			return nil, err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// stop ends the process and waits for it.
func (t *toxiproxy) stop() {
	_ = t.cmd.Process.Kill()
	<-t.ended
}

// freePort asks the system for a port that nobody listens on.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}

func (t *toxiproxy) call(ctx context.Context, method, path string, ask, answer any) error {
	body, err := json.Marshal(ask)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, t.url+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	res, err := t.client.Do(req)
	if err != nil {
		return fmt.Errorf("%w: %w", errStuck, err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	switch {
	case err != nil:
		return err
	case res.StatusCode/100 != 2:
		return fmt.Errorf("%w: %s %s: HTTP %d: %s", errStuck, method, path, res.StatusCode, bytes.TrimSpace(text))
	case answer == nil:
		return nil
	}
	if plain, ok := answer.(*[]byte); ok {
		*plain = text
		return nil
	}
	return json.Unmarshal(text, answer)
}

// proxy is one listener of toxiproxy and what stands behind it.
type proxy struct {
	t      *toxiproxy
	name   string
	listen string // address
	toxics int
}

// open makes a proxy on a free port.
func (t *toxiproxy) open(ctx context.Context, name, upstream string) (*proxy, error) {
	var made struct{ Listen string }
	err := t.call(ctx, http.MethodPost, "/proxies", map[string]any{
		"name": name, "listen": "127.0.0.1:0", "upstream": upstream, "enabled": true,
	}, &made)
	return &proxy{t: t, name: name, listen: made.Listen}, err
}

// enable lets the proxy listen, or refuse every connection.
func (p *proxy) enable(ctx context.Context, on bool) error {
	return p.t.call(ctx, http.MethodPost, "/proxies/"+p.name, map[string]any{"enabled": on}, nil)
}

// attributes are those of a toxic, by toxiproxy's names.
type attributes map[string]int

// poison adds a toxic in the direction "upstream" (to the provider) or
// "downstream" (from it).
func (p *proxy) poison(ctx context.Context, kind, stream string, a attributes) error {
	p.toxics++
	return p.t.call(ctx, http.MethodPost, "/proxies/"+p.name+"/toxics", map[string]any{
		"name": "t" + strconv.Itoa(p.toxics), "type": kind, "stream": stream, "toxicity": 1, "attributes": a,
	}, nil)
}

// heal takes every toxic out and enables the proxy.
func (p *proxy) heal(ctx context.Context) error {
	for ; p.toxics > 0; p.toxics-- {
		if err := p.t.call(ctx, http.MethodDelete, "/proxies/"+p.name+"/toxics/t"+strconv.Itoa(p.toxics), nil, nil); err != nil {
			return err
		}
	}
	return p.enable(ctx, true)
}

// passed is how many bytes of all ended connections went to the process.
func (p *proxy) passed(ctx context.Context) (int, error) {
	var text []byte
	if err := p.t.call(ctx, http.MethodGet, "/metrics", nil, &text); err != nil {
		return 0, err
	}
	return passedIn(string(text), p.name)
}

// passedIn reads toxiproxy's metrics. No line means no ended connection.
func passedIn(metrics, name string) (int, error) {
	for line := range strings.Lines(metrics) {
		labels, ok := strings.CutPrefix(line, "toxiproxy_proxy_sent_bytes_total{")
		if !ok || !strings.Contains(labels, `direction="downstream"`) || !strings.Contains(labels, `proxy="`+name+`"`) {
			continue
		}
		_, value, _ := strings.Cut(strings.TrimSpace(labels), "} ")
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, fmt.Errorf("toxiproxy's metrics: %w", err)
		}
		return int(n), nil
	}
	return 0, nil
}

// settled waits until the bytes of the first, undisturbed run are counted.
func (p *proxy) settled(ctx context.Context) (n int, err error) {
	last := -1
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(30 * time.Millisecond) {
		if n, err = p.passed(ctx); err != nil || n > 0 && n == last {
			return n, err
		}
		if time.Now().After(deadline) {
			return 0, fmt.Errorf("%w: it counts no bytes", errStuck)
		}
		last = n
	}
}
