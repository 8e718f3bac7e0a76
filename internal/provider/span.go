package provider

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
)

// day is 24 hours: providers state lives in days and mean it that way.
const day = 24 * time.Hour

// Span is a length of time that may be written in days ("90d") besides the
// forms of [time.ParseDuration] ("30m", "8h"). It is never negative.
type Span time.Duration

// UnmarshalYAML implements yaml.NodeUnmarshaler; its error carries the place.
func (s *Span) UnmarshalYAML(node ast.Node) error {
	var text string
	if str, ok := node.(*ast.StringNode); ok {
		text = str.Value
	} else {
		text = node.String()
	}
	d, err := parseSpan(text)
	if err != nil {
		return &yaml.SyntaxError{Message: err.Error(), Token: node.GetToken()}
	}
	*s = Span(d)
	return nil
}

func parseSpan(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if n, ok := strings.CutSuffix(text, "d"); ok {
		var days uint64
		days, err = strconv.ParseUint(n, 10, 16)
		d = time.Duration(days) * day
	}
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%q is not a length of time such as 30m, 8h or 90d", text)
	}
	return d, nil
}

// String writes whole days as days ("90d") and the rest as Go does, without
// the zero parts.
func (s Span) String() string {
	d := time.Duration(s)
	if d >= 2*day && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	text := d.String()
	if t, ok := strings.CutSuffix(text, "m0s"); ok {
		text = t + "m"
	}
	if t, ok := strings.CutSuffix(text, "h0m"); ok {
		text = t + "h"
	}
	return text
}
