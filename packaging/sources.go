package packaging

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// sources are what the program is built from, below the root of the source.
func sources() []string { return []string{"cmd", "go.mod", "go.sum", "internal", "templates"} }

// Sources returns the SHA-256, in lower-case hex, of everything that the program is
// built from in the source whose root is given: names and contents, without tests.
// As long as it is the same, a released program is the program of that source.
func Sources(root string) (string, error) {
	all := sha256.New()
	for _, name := range sources() {
		err := filepath.WalkDir(filepath.Join(root, name), func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && d.Name() == "testdata":
				return fs.SkipDir
			case d.IsDir() || strings.HasPrefix(d.Name(), ".") || strings.HasSuffix(path, "_test.go"):
				return nil
			}
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			relative, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(all, "%x  %s\n", sha256.Sum256(b), filepath.ToSlash(relative))
			return err
		})
		if errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("%s is not the root of the source: %w", root, err)
		}
		if err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(all.Sum(nil)), nil
}
