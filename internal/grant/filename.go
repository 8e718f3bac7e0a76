package grant

import (
	"slices"
	"strings"
)

// Filename returns the name under which files of this grant are kept. It is
// the grant's name in lower case with "+" for "/"; where that lost capitals, "="
// and a bit mask of their places follow: four letters to a hexadecimal digit,
// first letter highest, zeros at the end left out. A name that Windows keeps
// for a device gets "@" in front.
//
//	acme/claude → acme+claude    acme/Claude → acme+claude=04    con → @con
//
// So two grants never share a file on a file system that ignores case, the
// name never starts with a dot, never exceeds 162 bytes, and
// [ParseFilename] gets the grant back. The caller adds a suffix of its own. The
// error is that of [ParseID]: a name that is not valid never becomes a path.
func (id ID) Filename() (string, error) {
	if _, err := ParseID(string(id)); err != nil {
		return "", err
	}
	mask := make([]byte, (len(id)+3)/4)
	for i := range len(id) {
		if id[i] >= 'A' && id[i] <= 'Z' {
			mask[i/4] |= 8 >> (i % 4)
		}
	}
	for len(mask) > 0 && mask[len(mask)-1] == 0 {
		mask = mask[:len(mask)-1]
	}
	name := strings.ReplaceAll(strings.ToLower(string(id)), "/", "+")
	if device(name) {
		name = "@" + name
	}
	if len(mask) == 0 {
		return name, nil
	}
	for i, m := range mask {
		mask[i] = "0123456789abcdef"[m]
	}
	return name + "=" + string(mask), nil
}

// ParseFilename is the inverse of [ID.Filename]; false for any other name.
func ParseFilename(name string) (ID, bool) {
	lower, mask, _ := strings.Cut(strings.TrimPrefix(name, "@"), "=")
	b := []byte(strings.ReplaceAll(lower, "+", "/"))
	for i := range mask {
		m := strings.IndexByte("0123456789abcdef", mask[i])
		for k := range 4 {
			at := 4*i + k
			if m < 0 || m&(8>>k) == 0 {
				continue
			}
			if at >= len(b) || b[at] < 'a' || b[at] > 'z' {
				return "", false
			}
			b[at] -= 'a' - 'A'
		}
	}
	id := ID(b)
	back, err := id.Filename()
	return id, err == nil && back == name
}

// device reports whether Windows takes a file of that name, with whatever
// extension, for a device (Microsoft, "Naming Files, Paths, and Namespaces").
func device(name string) bool {
	stem, _, _ := strings.Cut(name, ".")
	if len(stem) == 4 && stem[3] >= '1' && stem[3] <= '9' {
		return stem[:3] == "com" || stem[:3] == "lpt"
	}
	return slices.Contains([]string{"con", "prn", "aux", "nul"}, stem)
}
