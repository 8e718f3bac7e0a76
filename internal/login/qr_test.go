package login_test

import (
	"image"
	"image/color"
	"regexp"
	"strings"
	"testing"

	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"

	"evergrant/internal/login"
)

// TestQR photographs the picture and has it read by software that shares nothing
// with what drew it.
func TestQR(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"https://id.example/device", "https://id.example/device?user_code=WDJB-MJHT", "http://127.0.0.1:18765/device?user_code=BCDF-GHJK",
		"https://id.example/" + strings.Repeat("a-long-path/", 20),
	} {
		for _, colours := range []bool{true, false} {
			p, err := login.QR(text, colours)
			if err != nil {
				t.Fatal(err)
			}
			if got := read(t, p, colours); got != text {
				t.Errorf("colours %v: the picture says %q, want %q", colours, got, text)
			}
		}
	}
	if _, err := login.QR(strings.Repeat("x", 2000), true); err == nil {
		t.Error("a text that fits no terminal is drawn")
	}
	if p, _ := login.QR("https://login.microsoftonline.com/common/oauth2/deviceauth?user_code=ABCD-EFGH", true); p.Width > 80 {
		t.Errorf("a usual address takes %d columns", p.Width)
	}
}

// read turns a picture of half blocks into pixels, as a terminal shows it: black
// on white with colours, and white blocks on black without.
func read(t *testing.T, p login.Picture, colours bool) string {
	t.Helper()
	lines := strings.Split(strings.TrimRight(regexp.MustCompile("\x1b\\[[0-9;]*m").ReplaceAllString(p.Text, ""), "\n"), "\n")
	if escapes := strings.Contains(p.Text, "\x1b"); escapes != colours {
		t.Errorf("escapes: %v, colours: %v", escapes, colours)
	}
	const scale, margin = 4, 20
	photo := image.NewGray(image.Rect(0, 0, p.Width*scale+2*margin, 2*len(lines)*scale+2*margin))
	for i := range photo.Pix {
		photo.Pix[i] = 0xff // a wall; the reader finds the code on it
	}
	for row, line := range lines {
		cells := []rune(line)
		if len(cells) != p.Width {
			t.Fatalf("line %d has %d columns, the picture %d", row, len(cells), p.Width)
		}
		for x, c := range cells {
			upper, lower := c == '▀' || c == '█', c == '▄' || c == '█'
			for half, ink := range []bool{upper, lower} {
				black := ink == colours
				if !black {
					continue
				}
				for dy := range scale {
					for dx := range scale {
						photo.SetGray(margin+x*scale+dx, margin+(2*row+half)*scale+dy, color.Gray{})
					}
				}
			}
		}
	}
	bits, err := gozxing.NewBinaryBitmapFromImage(photo)
	if err != nil {
		t.Fatal(err)
	}
	found, err := qrcode.NewQRCodeReader().Decode(bits, nil)
	if err != nil {
		t.Errorf("colours %v: the picture cannot be read: %v\n%s", colours, err, p.Text)
		return ""
	}
	return found.GetText()
}
