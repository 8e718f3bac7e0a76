package store

import "net/url"

// Kind is the store's scheme: file, git, ghsecret or none.
func (l Location) Kind() string { return l.scheme }

// Remote is the repository of a git store as git takes it, without any secret; else "".
func (l Location) Remote() string { return l.remote.String() }

// Forge is the address of the server of a git store that is reached over HTTP; else
// "".
func (l Location) Forge() string {
	u, err := url.Parse(l.remote.String())
	if err != nil || !l.remote.TakesToken() {
		return ""
	}
	return u.Scheme + "://" + u.Host + "/"
}

// Repository is that of a store in a GitHub secret, as OWNER/REPO; else "".
func (l Location) Repository() string {
	if l.scheme != "ghsecret" {
		return ""
	}
	return l.secret.of.Repository()
}
