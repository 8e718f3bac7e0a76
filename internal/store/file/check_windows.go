package file

import "io/fs"

// Windows has no mode bits that say who may read: the folder inherits the
// access list of the user's profile. Making symbolic links is a privilege there.
const (
	noFollow = 0
	nonBlock = 0
)

func exposed(fs.FileMode) bool  { return false }
func writable(fs.FileMode) bool { return false }

func foreign(fs.FileInfo) (owner, me int, other bool) { return 0, 0, false }

func isLink(error) bool { return false }
