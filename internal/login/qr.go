package login

import (
	"errors"
	"strings"

	"rsc.io/qr/coding"
)

// quietZone is the white margin that a reader needs (ISO/IEC 18004), in modules:
// four by the standard, two as cameras take it, which fits 80 columns.
const quietZone = 2

// maxVersion is the largest code that fits a terminal, 97 modules wide.
const maxVersion = 20

// Picture is a QR code as text: two rows of modules in a line, by half blocks.
type Picture struct {
	Text  string
	Width int // in columns
}

// QR draws a text. With colours the modules are black on white whatever the
// terminal's own are; without, a light one is drawn as a block, which is right on a
// dark terminal, and on a light one for readers that take a negative.
func QR(text string, colours bool) (Picture, error) {
	code, err := encode(text)
	if err != nil {
		return Picture{}, err
	}
	size := code.Size + 2*quietZone
	dark := func(x, y int) bool { return code.Black(x-quietZone, y-quietZone) }
	var b strings.Builder
	for y := 0; y < size; y += 2 {
		if colours {
			b.WriteString("\x1b[38;5;16;48;5;231m")
		}
		for x := range size {
			upper, lower := dark(x, y), y+1 < size && dark(x, y+1)
			if !colours { // drawn by what is light; below the last row is nothing
				upper, lower = !upper, y+1 < size && !lower
			}
			b.WriteString([...]string{" ", "▄", "▀", "█"}[2*bit(upper)+bit(lower)])
		}
		if colours {
			b.WriteString("\x1b[0m")
		}
		b.WriteString("\n")
	}
	return Picture{b.String(), size}, nil
}

// encode makes the smallest code with the lowest redundancy: a screen has no
// scratches.
func encode(text string) (*coding.Code, error) {
	enc := coding.String(text)
	for v := coding.Version(coding.MinVersion); v <= maxVersion; v++ {
		if enc.Bits(v) > v.DataBytes(coding.L)*8 {
			continue
		}
		plan, err := coding.NewPlan(v, coding.L, 0)
		if err != nil {
			return nil, err
		}
		return plan.Encode(enc)
	}
	return nil, errors.New("the text is too long for a code in a terminal")
}

func bit(set bool) int {
	if set {
		return 1
	}
	return 0
}
