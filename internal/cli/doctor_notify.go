package cli

import (
	"context"
	"net/http"
	"time"
)

// receivers asks whether those who are to be told are there. No message is sent, so
// nobody learns whether it would be taken.
func (d *doctor) receivers(ctx context.Context, o refreshOptions) error {
	n, err := o.notify.receivers(d.env)
	if err != nil {
		return err
	}
	const why = "nobody is told when the consent ends or a person is needed; tokens are refreshed all the same"
	for _, h := range n.hooks {
		if a := d.asked(ctx, http.MethodGet, h.Host()+"/"); a.err != nil {
			d.find(noteOnly, "notify", h.Host()+" does not answer: "+a.err.Error(), why, waitFor(http.MethodGet, h.Host()+"/"))
		} else {
			d.fine("notify", "%s answers, in %v; whether it takes a message, only a message tells", h.Host(), a.took.Round(time.Millisecond))
		}
	}
	if n.lacks != "" {
		d.find(noteOnly, "notify", n.lacks, why, `export GITHUB_TOKEN="$(gh auth token)"`)
	}
	return nil
}
