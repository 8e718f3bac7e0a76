package login

import (
	"context"
	"errors"
	"time"

	"evergrant/internal/grant"
	"evergrant/internal/oauth"
)

// Devices asks a provider for the tokens of a device; an [oauth.Client] does.
type Devices interface {
	PollDevice(ctx context.Context, d oauth.Device, issuer string) (oauth.Issued, error)
}

// ErrCodeEnded: nobody entered the device's code while it lived.
var ErrCodeEnded = errors.New("the code was not entered in time")

// slower is what slow_down adds to the interval (RFC 8628 §3.5).
const slower = 5 * time.Second

// AwaitDevice polls until the person has decided, the code's life is over, or ctx
// ends. Between two polls it waits for the interval that the provider asked for,
// by pause; a request that got no answer doubles it (RFC 8628 §3.5).
func AwaitDevice(ctx context.Context, c Devices, d oauth.Device, issuer string, pause func(context.Context, time.Duration) error) (oauth.Issued, error) {
	interval, spent := d.Interval, time.Duration(0)
	for {
		if spent += interval; spent > d.Life {
			return oauth.Issued{}, ErrCodeEnded
		}
		if err := pause(ctx, interval); err != nil {
			return oauth.Issued{}, err
		}
		issued, err := c.PollDevice(ctx, d, issuer)
		failed := (*oauth.StepError)(nil)
		switch {
		case err == nil:
			return issued, nil
		case ctx.Err() != nil:
			return oauth.Issued{}, ctx.Err()
		case !errors.As(err, &failed):
			return oauth.Issued{}, err
		}
		switch failed.Code {
		case "authorization_pending":
		case "slow_down":
			interval += slower
		case "access_denied":
			return oauth.Issued{}, &Refusal{Code: failed.Code}
		case "expired_token":
			return oauth.Issued{}, ErrCodeEnded
		default:
			if !passing(failed) {
				return oauth.Issued{}, err
			}
			interval = max(2*interval, failed.RetryAfter)
		}
	}
}

// passing reports a failure after which asking again is right: a poll spends
// nothing until there is a decision, and if the answer with the tokens was lost,
// the next one says so.
func passing(e *oauth.StepError) bool {
	return e.Fate == grant.Unspent || e.Fate == grant.InDoubt && (e.Status == 0 || e.Status/100 == 5)
}

// Pause is the pause of AwaitDevice, divided by n.
func Pause(n int) func(context.Context, time.Duration) error {
	return func(ctx context.Context, d time.Duration) error {
		timer := time.NewTimer(d / time.Duration(max(n, 1)))
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			return nil
		}
	}
}
