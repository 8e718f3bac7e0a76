package importer

import (
	"fmt"
	"path/filepath"
)

// readGcloud reads Google's application-default credentials of a user (google-auth,
// oauth2/credentials.py). The file has no access token.
//
//	{"type": "authorized_user", "client_id": "…", "client_secret": "…",
//	  "refresh_token": "…", "token_uri": "…", "account": "", …}
func readGcloud(from string, m *Machine, f *Found) error {
	path := from
	if path == "" {
		path = m.Getenv("GOOGLE_APPLICATION_CREDENTIALS")
	}
	if path == "" {
		const name = "application_default_credentials.json"
		var err error
		switch dir := m.Getenv("CLOUDSDK_CONFIG"); {
		case dir != "":
			path = filepath.Join(dir, name)
		case m.OS == "windows":
			path, err = m.settings("gcloud", name)
		default: // gcloud does not ask XDG_CONFIG_HOME
			path, err = m.home(".config", "gcloud", name)
		}
		if err != nil {
			return err
		}
	}
	f.Tool, f.Provider, f.SecretAt = "gcloud", "google", "client_secret in "+path
	text, err := f.load(path, m)
	switch {
	case missing(err):
		return fmt.Errorf("there are no application-default credentials at %s; make them with gcloud auth application-default login, or name the file with --from PATH", path)
	case err != nil:
		return err
	}
	file, err := parse(path, text)
	if err != nil {
		return err
	}
	kind := file.word("type")
	f.ClientID, f.TokenURL = file.word("client_id"), file.word("token_uri")
	f.Tokens.Refresh = file.token("refresh_token")
	switch {
	case file.err != nil:
		return file.err
	case kind != "authorized_user":
		return fmt.Errorf("%s is not of type authorized_user: only a person's credentials have a refresh token, and other types need none", path)
	case f.ClientID == "":
		return fmt.Errorf("%s has no member client_id", path)
	case f.Tokens.Refresh.IsZero():
		return fmt.Errorf("%s has no member refresh_token", path)
	}
	return nil
}
