package main

import "testing"

// TestScanFindsPlantedLeaks: the scan that every command of every script goes
// through has teeth for each of its channels.
func TestScanFindsPlantedLeaks(t *testing.T) {
	t.Parallel()
	const token = "canary-ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	w := &world{access: []string{token}}
	for text, leak := range map[string]bool{
		"":                                   false,
		"evergrant: x: refreshed\n":          false,
		"canary-\n":                          false,
		token:                                true,
		"evergrant: error: " + token + "\n":  true,
		"authorization: Bearer " + token:     true,
		"truncated: " + token[:24] + "…":     true,
		"::add-mask::" + token + "\n":        false, // the runner's own command
		"x ::add-mask::" + token + "\n":      true,
		"::add-mask::x\nand " + token + "\n": true,
	} {
		if got := w.holds(withoutMasks(text), w.all()); got != leak {
			t.Errorf("leak found: %v, want %v", got, leak)
		}
	}
}
