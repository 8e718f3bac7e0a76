// Command bare is the least that a refresh can be: one POST with the token
// that a file holds, and the rotated token written back. It has no lease, no
// second copy and no care; the benchmark holds evergrant against it.
//
//	bare URL FILE SYNCS
//
// SYNCS is how many fsyncs it makes, in pairs of file and folder, each pair
// after a write and rename as a durable store needs it; 0 writes once, unsynced.
package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
)

func main() {
	if err := refresh(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bare:", err)
		os.Exit(1)
	}
}

func refresh(args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("want URL FILE SYNCS")
	}
	syncs, err := strconv.Atoi(args[2])
	if err != nil {
		return fmt.Errorf("number of fsyncs: %w", err)
	}
	held, err := os.ReadFile(args[1])
	if err != nil {
		return err
	}
	res, err := http.PostForm(args[0], url.Values{
		"grant_type": {"refresh_token"}, "refresh_token": {string(held)}, "client_id": {"bench"},
	})
	if err != nil {
		return err
	}
	defer res.Body.Close()
	var reply struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	if err := json.NewDecoder(res.Body).Decode(&reply); err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK || reply.Refresh == "" {
		return fmt.Errorf("HTTP %d without a refresh token", res.StatusCode)
	}
	for written := 0; written == 0 || written < syncs; written += 2 {
		if err := replace(args[1], reply.Refresh, syncs > 0); err != nil {
			return err
		}
	}
	_, err = fmt.Println(reply.Access)
	return err
}

// replace writes a file anew and renames it over the old one; synced, it
// survives a power failure.
func replace(path, content string, synced bool) error {
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	if err == nil && synced {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil || !synced {
		return err
	}
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	err = folder.Sync()
	if closed := folder.Close(); err == nil {
		err = closed
	}
	return err
}
