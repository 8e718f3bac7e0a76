package cli

import (
	"os/exec"
	"path/filepath"
	"strings"
)

// lentFolders are the folders of a job in which every earlier step can write, and
// a checkout does.
func lentFolders() []string { return []string{"GITHUB_WORKSPACE", "RUNNER_TEMP"} }

// checkJob refuses what an earlier step can put in the way of a token by a file
// and a variable or an entry of PATH: an authority of its own, or a git of its
// own. It holds no step off that writes elsewhere: that one runs as the same user.
// storeURL is the store's, as the step was given it.
func (s *actionStep) checkJob(storeURL string) error {
	authorities, err := s.authorities()
	if err != nil {
		return err
	}
	if strings.HasPrefix(storeURL, "git:") {
		for _, name := range []string{"git", "ssh"} {
			path, err := exec.LookPath(name)
			if err != nil {
				continue // the store says so, if it needs it
			}
			if folder := s.lent(path); folder != "" {
				return usagef("%s would be run from %s, which lies below %s, where every earlier step can write; it is not run, and nothing was sent", name, path, folder).
					hint("put this step before the one that adds it to PATH, or install " + name + " elsewhere")
			}
		}
	}
	for _, proxy := range []string{"HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"} {
		if s.raw.get(proxy) != "" && len(authorities) > 0 && !s.warned {
			s.warned = true
			s.app.warn([]string{proxy + " and " + authorities[0] + " are both set: whoever set them can read every token of this step; if that was not the runner's owner, put this step before all others"})
		}
	}
	return nil
}

// authorities returns the variables that name whom to trust.
func (s *actionStep) authorities() (set []string, err error) {
	for _, name := range []string{"SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO"} {
		value := s.raw.get(name)
		if value == "" {
			continue
		}
		set = append(set, name)
		paths := []string{value}
		if name == "SSL_CERT_DIR" {
			paths = filepath.SplitList(value)
		}
		for _, path := range paths {
			if folder := s.lent(path); folder != "" {
				return nil, usagef("%s names %s, which lies below %s, where every earlier step can write; it is not trusted, and nothing was sent", name, path, folder).
					hint("keep the authority's certificate elsewhere on the runner, or put this step before the one that sets " + name)
			}
		}
	}
	return set, nil
}

// lent names the folder of the job that a path lies in, by its name or by where
// its links lead. A relative path counts from the working folder, which is the
// job's.
func (s *actionStep) lent(path string) string {
	if !filepath.IsAbs(path) {
		return lentFolders()[0]
	}
	for _, name := range lentFolders() {
		folder := s.raw.get(name)
		if !filepath.IsAbs(folder) {
			continue
		}
		if below(folder, path) || below(followed(folder), followed(path)) {
			return name
		}
	}
	return ""
}

// followed is where a path leads; a part of it that is not there stays as it is.
func followed(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	if dir := filepath.Dir(path); dir != path {
		return filepath.Join(followed(dir), filepath.Base(path))
	}
	return path
}

func below(folder, path string) bool {
	way, err := filepath.Rel(folder, path)
	return err == nil && filepath.IsLocal(way)
}
