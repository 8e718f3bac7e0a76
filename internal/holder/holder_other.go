//go:build !linux

package holder

// here tells nothing: no other system has been found to say all three.
func here() place { return place{unknown, unknown, unknown} }

func gone(int, string) bool { return false }

func alive(int, string) bool { return false }
