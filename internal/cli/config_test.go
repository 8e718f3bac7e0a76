package cli_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"testing"

	"evergrant/internal/cli"
	"evergrant/internal/config"
)

var update = flag.Bool("update", false, "write docs/config.schema.json")

// TestConfigSchema: the published schema has every setting with what --help says of
// its flag, and no other. With -update it is written.
func TestConfigSchema(t *testing.T) {
	t.Parallel()
	settings := map[string]any{}
	for name, kind := range cli.Configured() {
		use := cli.FlagUse(name)
		if use == "" {
			t.Errorf("the setting %s is no flag of refresh", name)
		}
		schema := map[config.Kind]map[string]any{
			config.Text: {"type": "string", "minLength": 1}, config.Switch: {"type": "boolean"}, config.Count: {"type": "integer", "minimum": 0},
			config.Duration: {"type": "string", "pattern": `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`},
			config.List:     {"oneOf": []any{map[string]any{"type": "string"}, map[string]any{"type": "array", "items": map[string]any{"type": "string"}}}},
		}[kind]
		schema["description"] = use
		settings[name] = schema
	}
	grant := map[string]any{"$ref": "#/$defs/settings"}
	var want bytes.Buffer
	enc := json.NewEncoder(&want)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(map[string]any{
		"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "evergrant configuration", "type": "object",
		"additionalProperties": false, "required": []string{"grants"},
		"properties": map[string]any{"defaults": grant, "grants": map[string]any{"type": "object", "minProperties": 1,
			"additionalProperties": map[string]any{"anyOf": []any{grant, map[string]any{"type": "null"}}}}},
		"$defs": map[string]any{"settings": map[string]any{"type": "object", "additionalProperties": false, "properties": settings}},
	}); err != nil {
		t.Fatal(err)
	}
	const path = "../../docs/config.schema.json"
	if *update {
		if err := os.WriteFile(path, want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, want.Bytes()) {
		t.Error("docs/config.schema.json is not what the flags say; write it with go test ./internal/cli -run TestConfigSchema -update")
	}
}
