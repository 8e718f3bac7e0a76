package record

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"regexp"
	"strconv"
	"strings"

	"evergrant/internal/grant"
)

// A rescue block is a sealed record as text:
//
//	-----BEGIN EVERGRANT RESCUE BLOCK 5f0c21aa-----
//	5f0c21aa grant acme/claude
//	5f0c21aa consent 0123456789abcdef
//	5f0c21aa generation 17
//	5f0c21aa length 1834
//	5f0c21aa 1/39 YWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+IFgyNTUxOSA4… 9c1f2e07
//	…
//	-----END EVERGRANT RESCUE BLOCK 5f0c21aa-----
//
// The random name on each line lets blocks that two jobs print at once be told
// apart. The last word of a numbered line is the CRC-32 (IEEE) of what stands
// before it, from the name on. The length is that of the age file in bytes.
// Only numbered lines are needed to put a record back; the others let a person
// know what was found, and tell a block that was cut off from one with a hole.
const (
	beginBlock = "-----BEGIN EVERGRANT RESCUE BLOCK "
	endBlock   = "-----END EVERGRANT RESCUE BLOCK "
	endLine    = "-----"

	lineBytes = 48      // bytes of the age file on a line: 64 base64 digits
	maxLines  = 1 << 16 // of a block: 3 MiB, beyond the MaxRecord of every store
	maxBlocks = 1024    // in one log
	maxLine   = 2 << 10 // bytes of a log's line that may hold one of a block
)

// Rescue returns the record as a rescue block, ending in a newline. A record
// that cannot be sealed must not reach a log: without a recipient it is an error.
func (c *Codec) Rescue(cred grant.Credential) (string, error) {
	if !c.Sealed() {
		return "", errors.New("no rescue block without a sealing key: a record in a log must be sealed")
	}
	plain, err := c.marshal(cred)
	if err != nil {
		return "", err
	}
	box, err := c.seal(plain)
	if err != nil {
		return "", err
	}
	var random [4]byte
	_, _ = rand.Read(random[:]) // never fails: crypto/rand ends the program instead
	name := hex.EncodeToString(random[:])

	var b strings.Builder
	fmt.Fprintf(&b, "%s%s%s\n", beginBlock, name, endLine)
	fmt.Fprintf(&b, "%s grant %s\n%s consent %s\n", name, oneWord(string(cred.Grant)), name, oneWord(cred.Consent))
	fmt.Fprintf(&b, "%s generation %d\n%s length %d\n", name, cred.Generation, name, len(box))
	lines := (len(box) + lineBytes - 1) / lineBytes
	for i := range lines {
		part := box[i*lineBytes : min((i+1)*lineBytes, len(box))]
		line := fmt.Sprintf("%s %d/%d %s", name, i+1, lines, base64.StdEncoding.EncodeToString(part))
		fmt.Fprintf(&b, "%s %08x\n", line, crc32.ChecksumIEEE([]byte(line)))
	}
	fmt.Fprintf(&b, "%s%s%s\n", endBlock, name, endLine)
	return b.String(), nil
}

// RescueText takes from a text its one rescue block, without opening it: only lines
// as [Codec.Rescue] writes them, of one name, in their order. Whoever prints it into a log
// that a machine reads prints nothing else.
func RescueText(text string) (block string, ok bool) {
	if len(text) > maxLines*maxLine {
		return "", false
	}
	_, rest, found := strings.Cut(text, beginBlock)
	name, _, ends := strings.Cut(rest, endLine)
	first, last := beginBlock+name+endLine+"\n", endBlock+name+endLine+"\n"
	body, _, whole := strings.Cut(strings.TrimPrefix(rest, name+endLine+"\n"), last)
	line := regexp.MustCompile(`^[0-9a-f]{8} (?:(?:grant|consent) [!-~]+|(?:generation|length) [0-9]+|[0-9]+/[0-9]+ [A-Za-z0-9+/=]+ [0-9a-f]{8})\n$`)
	if !found || !ends || !whole || !regexp.MustCompile(`^[0-9a-f]{8}$`).MatchString(name) {
		return "", false
	}
	for l := range strings.Lines(body) {
		if !strings.HasPrefix(l, name+" ") || !line.MatchString(l) || strings.Contains(l, "##[") {
			return "", false
		}
	}
	return first + body + last, body != ""
}

// oneWord keeps a header on its line, whatever it is made of.
func oneWord(s string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}

// block is what has been found so far of one rescue block.
type block struct {
	name       string
	grant      string // "" until its header line was found
	total      int
	lines      map[int][]byte
	damaged    map[int]bool
	last       int  // the highest line seen, whole or damaged
	begun, end bool // BEGIN and END line were seen
}

// log finds rescue blocks in a text, line by line.
type log struct {
	blocks []*block
	byName map[string]*block

	colour, marker, header, numbered *regexp.Regexp
}

func newLog() *log {
	return &log{
		byName: make(map[string]*block),
		// ECMA-48 control sequences and the operating system commands of xterm.
		colour:   regexp.MustCompile("\x1b(\\[[0-?]*[ -/]*[@-~]|\\][^\x07\x1b]*(\x07|\x1b\\\\))"),
		marker:   regexp.MustCompile(`-----(BEGIN|END) EVERGRANT RESCUE BLOCK ([0-9a-f]{8})-----`),
		header:   regexp.MustCompile(`(?:^|[^0-9a-zA-Z])([0-9a-f]{8}) (grant|consent|generation|length) (\S+)`),
		numbered: regexp.MustCompile(`(?:^|[^0-9a-zA-Z])(([0-9a-f]{8}) ([0-9]{1,5})/([0-9]{1,5})(?: (\S+))?)(?: (\S+))?`),
	}
}

// Block is a rescue block that was found in a log, and is not opened yet.
type Block struct{ found *block }

// Grant is the grant that the block's header names, as [Codec.Rescue] wrote it; "" where
// that line is damaged or missing. No checksum and no seal is on it: only the record says
// whose it is.
func (b Block) Grant() string { return b.found.grant }

// Open opens the block with a codec. It may be tried with several.
func (b Block) Open(c *Codec) (grant.Credential, error) { return c.openBlock(b.found) }

// ParseRescue finds all rescue blocks in a log and opens them; see the function
// [ParseRescue].
func (c *Codec) ParseRescue(r io.Reader) ([]grant.Credential, error) {
	return ParseRescue(r, func(b Block) (grant.Credential, error) { return b.Open(c) })
}

// ParseRescue finds all rescue blocks in a log, and has each opened by open, which chooses
// the codec. Whatever a CI system puts before or behind a line is passed over:
// timestamps, colours, names of jobs, group markers, carriage returns, UTF-16. A line
// that is damaged in one copy of a block may come whole from another copy.
//
// With an error, the records that could be read are returned as well. The
// error names each block that is not whole and the first line that it lacks.
func ParseRescue(r io.Reader, open func(Block) (grant.Credential, error)) ([]grant.Credential, error) {
	l := newLog()
	if err := l.read(r); err != nil {
		return nil, err
	}
	if len(l.blocks) == 0 {
		return nil, errors.New("no rescue block found; it starts with the line " + beginBlock + "…")
	}
	var creds []grant.Credential
	var errs []error
	seen := make(map[string]bool)
	for _, b := range l.blocks {
		cred, err := open(Block{b})
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("rescue block %s%s: %w", b.name, b.of(), err))
		case !seen[string(cred.Grant)+"\x00"+cred.Writer] || cred.Writer == "":
			seen[string(cred.Grant)+"\x00"+cred.Writer] = true
			creds = append(creds, cred)
		}
	}
	return creds, errors.Join(errs...)
}

func (l *log) read(r io.Reader) error {
	in := bufio.NewReaderSize(r, maxLine)
	for {
		line, err := in.ReadSlice('\n')
		if !errors.Is(err, bufio.ErrBufferFull) {
			if lerr := l.line(line); lerr != nil {
				return lerr
			}
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return fmt.Errorf("read the log: %w", err)
		}
	}
}

func (l *log) line(raw []byte) error {
	raw = bytes.ReplaceAll(raw, []byte{0}, nil) // UTF-16, as Windows PowerShell redirects
	s := strings.TrimRight(l.colour.ReplaceAllString(string(raw), ""), " \t\r\n")
	if m := l.marker.FindStringSubmatch(s); m != nil {
		b, err := l.block(m[2])
		if err == nil {
			b.begun, b.end = b.begun || m[1] == "BEGIN", b.end || m[1] == "END"
		}
		return err
	}
	if m := l.header.FindStringSubmatch(s); m != nil {
		if b := l.byName[m[1]]; b != nil && m[2] == "grant" {
			b.grant = m[3]
		}
		return nil
	}
	m := l.numbered.FindStringSubmatch(s)
	if m == nil {
		return nil
	}
	whole, name := m[1], m[2]
	number, _ := strconv.Atoi(m[3])
	total, _ := strconv.Atoi(m[4])
	if number < 1 || number > total || total > maxLines {
		return nil
	}
	data, derr := base64.StdEncoding.Strict().DecodeString(m[5])
	good := derr == nil && len(data) > 0 && m[6] == fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(whole)))
	if !good && l.byName[name] == nil {
		return nil // a line of something else that looks alike
	}
	b, err := l.block(name)
	if err != nil {
		return err
	}
	b.add(number, total, data, good)
	return nil
}

func (l *log) block(name string) (*block, error) {
	if b := l.byName[name]; b != nil {
		return b, nil
	}
	if len(l.blocks) == maxBlocks {
		return nil, fmt.Errorf("more than %d rescue blocks in one log; give a part of it", maxBlocks)
	}
	b := &block{name: name, lines: make(map[int][]byte), damaged: make(map[int]bool)}
	l.blocks = append(l.blocks, b)
	l.byName[name] = b
	return b, nil
}

func (b *block) add(number, total int, data []byte, good bool) {
	if !good {
		b.damaged[number] = true
		b.last = max(b.last, number)
		return
	}
	if b.total == 0 {
		b.total = total
	}
	if total == b.total {
		b.lines[number] = data
		b.last = max(b.last, number)
	}
}

// of names the grant of the block, where it is known.
func (b *block) of() string {
	if b.grant == "" {
		return ""
	}
	return fmt.Sprintf(" (grant %q)", shorten(b.grant))
}

// join puts the lines together, or says which is the first that lacks.
func (b *block) join() ([]byte, error) {
	var box []byte
	for n := 1; n <= b.total; n++ {
		part, ok := b.lines[n]
		switch {
		case ok:
			box = append(box, part...)
		case b.damaged[n]:
			return nil, fmt.Errorf("line %d of the block is damaged (%d of %d lines are whole)", n, len(b.lines), b.total)
		case n > b.last && !b.end:
			return nil, fmt.Errorf("the block is cut off after line %d of %d", b.last, b.total)
		default:
			return nil, fmt.Errorf("line %d of the block is missing (%d of %d lines are whole)", n, len(b.lines), b.total)
		}
	}
	switch {
	case b.total > 0:
		return box, nil
	case len(b.damaged) > 0:
		return nil, errors.New("all its lines are damaged")
	case b.end:
		return nil, errors.New("it has no lines")
	}
	return nil, errors.New("the block is cut off before its first line")
}

func (c *Codec) openBlock(b *block) (grant.Credential, error) {
	box, err := b.join()
	if err != nil {
		return grant.Credential{}, err
	}
	plain, err := c.open(box)
	if err != nil {
		return grant.Credential{}, err
	}
	return decodePlain("", plain)
}
