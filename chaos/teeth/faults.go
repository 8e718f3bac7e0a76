package main

// planted is a fault, and where the harness must find it.
type planted struct {
	name     string
	file     string // from the root
	old, new string // old occurs exactly once
	by       harness
	store    string // kind of store; "": file
	parts    string // of chaos; for network, faults whose name holds this
	finds    string // what a red line says
}

// harness is one of the programs that look for faults.
type harness string

const (
	chaos   harness = "" // the parts of the command chaos
	network harness = "network"
	hydra   harness = "ory/hydra"
)

func faults() []planted {
	const save = "internal/engine/save.go"
	const spillFirst = "\tif err := a.cfg.Spill.Put(dctx, k); err != nil {\n\t\tunsaved.Spilled = false\n" +
		"\t\ta.warn(\"the reply could not be spilled to this machine's disk before saving: \" + err.Error())\n\t}\n"
	const saveThen = "\ts, err := a.put(ctx, k, unsaved)\n"
	const warns = "\ta.warn(out.Warnings)\n"
	return []planted{
		{
			name: "nothing is spilled before the Swap", file: save,
			old: "a.cfg.Spill.Put(dctx, k)", new: "error(nil)",
			parts: "disk", finds: "lost: store outage alone",
		},
		{
			name: "the save comes before the spill", file: save,
			old: spillFirst + saveThen, new: saveThen + spillFirst,
			parts: "kill", finds: "before it was spilled",
		},
		{
			name: "the spill is not synced", file: "internal/atomicfile/atomicfile.go",
			old: "\tif err := f.Sync(); err != nil {\n\t\treturn &ReplacedError{Path: path, Err: err}\n\t}\n", new: "",
			parts: "kill", finds: "does without spill: fsync spill",
		},
		{
			name: "a cancellation ends the save", file: save,
			old: "\tdctx := context.WithoutCancel(ctx)\n\tunsaved :=", new: "\tif ctx.Err() != nil {\n\t\treturn Outcome{}, ctx.Err()\n\t}\n\tdctx := context.WithoutCancel(ctx)\n\tunsaved :=",
			parts: "signals", finds: "lost: cancellation alone",
		},
		{
			name: "a conflict of the store is ignored", file: "internal/store/file/file.go",
			old: "case version(current) != old:", new: "case old == \"\" && version(current) != old:",
			parts: "race", finds: "that P1 does not allow",
		},
		{
			name: "a conflict is ignored, in rolling starts", file: "internal/store/file/file.go",
			old: "case version(current) != old:", new: "case old == \"\" && version(current) != old:",
			parts: "rolling", finds: "that P1 does not allow",
		},
		{
			name: "a token is in a warning", file: "internal/cli/refresh.go",
			old: warns, new: "\ta.warn([]string{out.Access.Value.Reveal()})\n",
			parts: "disk,leaks", finds: "leaks",
		},
		{
			name: "half a token is in a warning", file: "internal/cli/refresh.go",
			old: warns, new: "\tif v := out.Access.Value.Reveal(); v != \"\" {\n\t\ta.warn([]string{v[len(v)-13:]})\n\t}\n",
			parts: "disk,leaks", finds: "leaks",
		},
		{
			name: "a push without a lease", file: "internal/store/git/write.go",
			old: `"--force-with-lease="+ref+":"+was`, new: `"--force"`,
			store: "git path", parts: "race", finds: "that P1 does not allow",
		},
		{
			name: "a push whose answer was lost counts as failed", file: "internal/store/git/write.go",
			old:   `return "", fmt.Errorf("the push to %s ended in the middle: %w", s.remote, a.err)`,
			new:   `return "", notWritten(fmt.Errorf("the push to %s ended in the middle: %w", s.remote, a.err))`,
			store: "git http", parts: "outages", finds: "at the first push, the lease: want exit [0]",
		},
		{
			name: "somebody's commit in the ref counts as no record", file: "internal/store/git/read.go",
			old:   `foreign := fmt.Errorf("%w: %s of %s holds something that evergrant did not write; use another ref, or clear this one", grant.ErrUnreadable,`,
			new:   `foreign := fmt.Errorf("%w: %s of %s holds something that evergrant did not write; use another ref, or clear this one", grant.ErrNotFound,`,
			store: "git path", parts: "outages", finds: "a commit of a project is in the ref: want exit 6",
		},
		{
			name: "a lock that git has left behind stays", file: "internal/store/git/lock.go",
			old: "s.now().Sub(old.ModTime()) < lockAge", new: "lockAge > 0",
			store: "git path", parts: "kill", finds: "the grant is stuck",
		},
		{
			name: "the forge's token is among git's arguments", file: "internal/store/git/program.go",
			old: "exec.CommandContext(ctx, p.path, args...)", new: `exec.CommandContext(ctx, p.path, append([]string{"-c", "a.b=" + p.env[len(p.env)-1]}, args...)...)`,
			store: "git http", parts: "kill,leaks", finds: "leaks",
		},
		{
			name: "a token whose answer was lost counts as unspent", file: "internal/oauth/connection.go",
			old: "return a, &grant.RefreshError{Fate: grant.InDoubt, Status: a.status, Err: err}", new: "return a, &grant.RefreshError{Fate: grant.Unspent, Status: a.status, Err: err}",
			by: network, parts: "reply lost", finds: "that P1 does not allow",
		},
		{
			name: "certificates are not looked at", file: "internal/oauth/dial.go",
			old: "\tcfg := &tls.Config{}\n\tif n.tls", new: "\tcfg := &tls.Config{InsecureSkipVerify: true}\n\tif n.tls",
			by: network, parts: "HTTPS: certificate", finds: "exit 0, and the fault was not as planned",
		},
		{
			name: "a server's own error ends the login", file: "internal/oauth/classify.go",
			old: `{true, "server_error, internal_error, internal_server_error", grant.InDoubt,`, new: `{true, "server_error, internal_error, internal_server_error", grant.Rejected,`,
			by: hydra, finds: "exit 3 while",
		},
	}
}
