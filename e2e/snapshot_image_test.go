//go:build e2e

package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// builder builds images by buildah, which needs no daemon and, for this recipe, no registry.
type builder struct{ dir string }

// buildah runs it with a storage of the test's own, and returns its standard output.
func (i *builder) buildah(t *testing.T, args ...string) string {
	t.Helper()
	own := []string{"--storage-driver", "vfs", "--root", filepath.Join(i.dir, "root"), "--runroot", filepath.Join(i.dir, "run")}
	cmd := exec.Command("buildah", append(own, args...)...)
	cmd.Env = append(os.Environ(), "BUILDAH_ISOLATION=chroot")
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("buildah %s: %v\n%s%s", args[0], err, out, said.String())
	}
	return strings.TrimSpace(string(out))
}

// TestSnapshotImage builds packaging/Containerfile with the snapshot's programs for
// both platforms. The image has two files. As a user without rights, the program
// refreshes by TLS, whose root is known from the image alone, and its record is in
// the caller's folder.
func TestSnapshotImage(t *testing.T) {
	server := startServer(t, newAuthority(t))
	l := server.consent(t, publicClient)
	top := t.TempDir()
	i := &builder{dir: top}
	context := filepath.Join(top, "context")
	for _, arch := range []string{"amd64", "arm64"} {
		must(t, os.MkdirAll(filepath.Join(context, "linux", arch), 0o755))
		must(t, os.WriteFile(filepath.Join(context, "linux", arch, "evergrant"), released(t, "evergrant-linux-"+arch), 0o755))
	}
	roots, err := os.ReadFile(server.caFile)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(context, "ca-certificates.crt"), roots, 0o644))
	t.Cleanup(func() { i.buildah(t, "rm", "--all") })
	var here string
	for _, arch := range []string{"arm64", "amd64"} {
		i.buildah(t, "build", "--quiet", "--platform", "linux/"+arch, "--file", filepath.Join("..", "packaging", "Containerfile"), "--tag", "evergrant:"+arch, context)
		here = i.buildah(t, "from", "--platform", "linux/"+arch, "evergrant:"+arch)
		folder := i.buildah(t, "mount", here)
		var files []string
		must(t, filepath.WalkDir(folder, func(path string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				files = append(files, strings.TrimPrefix(path, folder))
			}
			return err
		}))
		if !slices.Equal(files, []string{"/etc/ssl/certs/ca-certificates.crt", "/usr/bin/evergrant"}) {
			t.Errorf("the image for %s holds %q", arch, files)
		}
		program, err := os.ReadFile(filepath.Join(folder, "usr", "bin", "evergrant"))
		if must(t, err); !bytes.Equal(program, released(t, "evergrant-linux-"+arch)) {
			t.Errorf("the image for %s has another program", arch)
		}
		about := i.buildah(t, "inspect", "--format", "{{.OCIv1.Config.User}} {{.OCIv1.Config.Entrypoint}} {{.OCIv1.Architecture}}", here)
		if want := "65532:65532 [/usr/bin/evergrant] " + arch; about != want {
			t.Errorf("the image for %s is %q, want %q", arch, about, want)
		}
	}
	args := []string{"run", "--user", "1000:1000"}
	for _, name := range []string{"grants", "state"} {
		must(t, os.Mkdir(filepath.Join(top, name), 0o700))
		must(t, os.Chown(filepath.Join(top, name), 1000, 1000))
		args = append(args, "--volume", filepath.Join(top, name)+":/"+name)
	}
	for name, value := range map[string]string{"STORE": "file:/grants", "TOKEN_URL": server.tokenURL(), "CLIENT_ID": publicClient.id, "REFRESH_TOKEN": l.Refresh} {
		args = append(args, "--env", "EVERGRANT_"+name+"="+value)
	}
	token := i.buildah(t, append(args, here, "--", "/usr/bin/evergrant", "token", "g")...)
	server.expect(t, "in the image", refreshes(1))
	if !server.alive(t, token) || !exists(filepath.Join(top, "grants", "g.json")) {
		t.Error("the token is dead, or the record is not in the caller's folder")
	}
	part("%-19s packaging/Containerfile by buildah, two platforms: two files, no rights, and a refresh by TLS with the image's roots", "snapshot, image")
}
