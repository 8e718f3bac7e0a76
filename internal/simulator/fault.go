package simulator

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// FaultKind is what goes wrong with a token request.
type FaultKind string

const (
	// FaultSlow only delays.
	FaultSlow FaultKind = "slow"
	// FaultDropUnread closes the connection before the body is read, so that
	// the ledger cannot say which token it was.
	FaultDropUnread FaultKind = "drop-unread"
	// FaultDrop closes the connection without an answer.
	FaultDrop FaultKind = "drop"
	// FaultHalf closes the connection in the middle of the true answer.
	FaultHalf FaultKind = "half"
	// FaultDrip sends the true answer byte by byte, one per Every.
	FaultDrip FaultKind = "drip"
	// FaultTruncated sends a whole HTTP message with a part of the true body.
	FaultTruncated FaultKind = "truncated"
	// FaultContentType labels the true answer as text/html, or as ContentType.
	FaultContentType FaultKind = "content-type"
	// FaultStatus answers Status, default 500, with Retry-After if set.
	FaultStatus FaultKind = "status"
	// FaultHTML answers a bot filter's page, status 403 or Status.
	FaultHTML FaultKind = "html"
	// FaultNonsense answers 200 and JSON that is none.
	FaultNonsense FaultKind = "nonsense"
	// FaultHuge answers 200 and Size bytes, default 1 GiB.
	FaultHuge FaultKind = "huge"
	// FaultEmpty answers 200 and nothing.
	FaultEmpty FaultKind = "empty"
	// FaultRedirect answers 307, or Status, to another address of this server.
	FaultRedirect FaultKind = "redirect"
	// FaultCanned answers Status, default 200, ContentType and Body.
	FaultCanned FaultKind = "canned"
)

// Fault spoils token requests: the next Times ones, or each with probability
// Chance. Neither set means once.
type Fault struct {
	Kind   FaultKind
	Times  int
	Chance float64
	// Acted makes the provider act before the fault: the token is spent and the
	// answer is lost. Without it the request has no effect. Kinds that send the
	// true answer, and slow, always act; drop-unread never does.
	Acted bool
	// Before and After delay the moment of acting and that of answering. They
	// end for nothing but [Server.Close]: a slow server acts on a request whose
	// sender has left.
	Before, After time.Duration

	Reset       bool          // drops send a TCP reset instead of an orderly end
	Every       time.Duration // of drip
	Status      int
	RetryAfter  time.Duration // header of status; 0: none, below a second: "0"
	RetryDate   bool          // in the HTTP-date form
	Keep        float64       // of half and truncated: part of the body that is sent; 0: a half
	Size        int64         // of huge, in bytes
	ContentType string
	Body        string // of status and canned
}

func faultKinds() []FaultKind {
	return []FaultKind{FaultSlow, FaultDropUnread, FaultDrop, FaultHalf, FaultDrip, FaultTruncated, FaultContentType,
		FaultStatus, FaultHTML, FaultNonsense, FaultHuge, FaultEmpty, FaultRedirect, FaultCanned}
}

// acts reports whether the provider acts on the request.
func (f Fault) acts() bool {
	switch f.Kind {
	case "", FaultSlow, FaultHalf, FaultDrip, FaultTruncated, FaultContentType:
		return true
	case FaultDropUnread:
		return false
	}
	return f.Acted
}

func (f Fault) withDefaults() Fault {
	if f.Times == 0 && f.Chance == 0 {
		f.Times = 1
	}
	f.Keep = defaultTo(f.Keep, 0.5)
	f.Size = defaultTo(f.Size, 1<<30)
	switch f.Kind {
	case FaultStatus:
		f.Status = defaultTo(f.Status, http.StatusInternalServerError)
	case FaultHTML:
		f.Status = defaultTo(f.Status, http.StatusForbidden)
	case FaultRedirect:
		f.Status = defaultTo(f.Status, http.StatusTemporaryRedirect)
	default:
		f.Status = defaultTo(f.Status, http.StatusOK)
	}
	return f
}

func (f Fault) check() error {
	var kinds []string
	for _, k := range faultKinds() {
		kinds = append(kinds, string(k))
	}
	switch {
	case !slices.Contains(kinds, string(f.Kind)):
		return fmt.Errorf("simulator: unknown fault %q; there are %s", f.Kind, strings.Join(kinds, ", "))
	case f.Times < 0 || !(f.Chance >= 0 && f.Chance <= 1) || f.Times > 0 && f.Chance > 0:
		return fmt.Errorf("simulator: fault %s wants either times above 0 or a chance up to 1", f.Kind)
	case f.Before < 0 || f.After < 0 || f.Every < 0 || f.RetryAfter < 0 || f.Size < 0:
		return fmt.Errorf("simulator: fault %s has a negative duration or size", f.Kind)
	case !(f.Keep >= 0 && f.Keep < 1):
		return fmt.Errorf("simulator: fault %s keeps a part of at least 0 and below 1", f.Kind)
	case f.Status != 0 && (f.Status < 200 || f.Status > 599):
		return fmt.Errorf("simulator: fault %s has status %d, which is no final HTTP status", f.Kind, f.Status)
	case f.Acted && f.Kind == FaultDropUnread:
		return fmt.Errorf("simulator: fault %s cannot act on what it does not read", f.Kind)
	}
	return nil
}

// retryAfter is the Retry-After header (RFC 9110 §10.2.3); "": none.
func (f Fault) retryAfter(now time.Time) string {
	switch {
	case f.RetryAfter == 0:
		return ""
	case f.RetryDate:
		return now.Add(f.RetryAfter).UTC().Format(http.TimeFormat)
	}
	return strconv.FormatInt(int64(f.RetryAfter/time.Second), 10)
}

// ParseFault reads the text form of a fault: its kind, then members after
// commas, such as "status,status=503,retry-after=2s,times=3" or
// "drop,acted,chance=0.2". Words alone switch on acted, reset and retry-date;
// body=… takes the rest of the text.
func ParseFault(text string) (Fault, error) {
	kind, rest, _ := strings.Cut(text, ",")
	f := Fault{Kind: FaultKind(kind)}
	for rest != "" {
		var member string
		if body, ok := strings.CutPrefix(rest, "body="); ok {
			f.Body = body
			break
		}
		member, rest, _ = strings.Cut(rest, ",")
		if err := f.set(member); err != nil {
			return Fault{}, fmt.Errorf("simulator: fault %q: %w", kind, err)
		}
	}
	return f, f.check()
}

func (f *Fault) set(member string) (err error) {
	name, value, _ := strings.Cut(member, "=")
	switch name {
	case "acted", "reset", "retry-date":
		if value != "" {
			return fmt.Errorf("%s takes no value", name)
		}
		f.Acted = f.Acted || name == "acted"
		f.Reset = f.Reset || name == "reset"
		f.RetryDate = f.RetryDate || name == "retry-date"
	case "times":
		f.Times, err = strconv.Atoi(value)
	case "chance":
		f.Chance, err = strconv.ParseFloat(value, 64)
	case "before":
		f.Before, err = time.ParseDuration(value)
	case "after":
		f.After, err = time.ParseDuration(value)
	case "every":
		f.Every, err = time.ParseDuration(value)
	case "retry-after":
		f.RetryAfter, err = time.ParseDuration(value)
	case "status":
		f.Status, err = strconv.Atoi(value)
	case "keep":
		f.Keep, err = strconv.ParseFloat(value, 64)
	case "size":
		f.Size, err = strconv.ParseInt(value, 10, 64)
	case "content-type":
		f.ContentType = value
	default:
		return fmt.Errorf("%q is no member of a fault", name)
	}
	if err != nil {
		return fmt.Errorf("%s=%s cannot be read", name, value)
	}
	return nil
}

// String is the text form that [ParseFault] reads.
func (f Fault) String() string {
	var b strings.Builder
	b.WriteString(string(f.Kind))
	add := func(set bool, format string, a ...any) {
		if set {
			fmt.Fprintf(&b, ","+format, a...)
		}
	}
	add(f.Times != 0, "times=%d", f.Times)
	add(f.Chance != 0, "chance=%v", f.Chance)
	add(f.Acted, "acted")
	add(f.Before != 0, "before=%v", f.Before)
	add(f.After != 0, "after=%v", f.After)
	add(f.Reset, "reset")
	add(f.Every != 0, "every=%v", f.Every)
	add(f.Status != 0, "status=%d", f.Status)
	add(f.RetryAfter != 0, "retry-after=%v", f.RetryAfter)
	add(f.RetryDate, "retry-date")
	add(f.Keep != 0, "keep=%v", f.Keep)
	add(f.Size != 0, "size=%d", f.Size)
	add(f.ContentType != "", "content-type=%s", f.ContentType)
	add(f.Body != "", "body=%s", f.Body)
	return b.String()
}

// faultQueue hands one fault to each token request: counted ones in order,
// then those by chance.
type faultQueue struct {
	faults []Fault
	rng    *rand.Rand
}

func (q *faultQueue) next() Fault {
	for i := range q.faults {
		f := &q.faults[i]
		if f.Times > 0 {
			taken := *f
			if f.Times--; f.Times == 0 {
				q.faults = slices.Delete(q.faults, i, i+1)
			}
			return taken.withDefaults()
		}
	}
	for _, f := range q.faults {
		if q.rng.Float64() < f.Chance {
			return f.withDefaults()
		}
	}
	return Fault{}
}
