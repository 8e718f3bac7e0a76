package cli

import (
	"runtime"

	"evergrant/internal/atomicfile"
	"evergrant/internal/grant"
)

// maxSecretFile bounds a file that holds one secret, in bytes.
const maxSecretFile = 64 << 10

// secretFile reads a secret from a file. Others who can read it too are worth a
// warning and no failure: some systems mount secrets that way.
func (a *app) secretFile(flag, path string) (grant.Secret, error) {
	b, mode, err := atomicfile.ReadRegular(path, maxSecretFile)
	switch {
	case err != nil:
		return grant.Secret{}, usagef("%s: %s: %v", flag, shownPath(path), err)
	case len(b) == 0:
		return grant.Secret{}, usagef("%s: %s is empty", flag, shownPath(path))
	case mode&0o044 != 0 && runtime.GOOS != "windows":
		a.console.warnf("%s: others can read %s (mode %04o): chmod 600 %s", flag, shownPath(path), mode, shownPath(path))
	}
	return grant.NewSecret(string(b)), nil
}
