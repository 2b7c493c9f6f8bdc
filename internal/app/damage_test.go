package app_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestADamagedDataFolderIsExplained damages what a platform has kept: it must
// not start as if nothing were, and must say what to do.
func TestADamagedDataFolderIsExplained(t *testing.T) {
	for name, tc := range map[string]struct {
		damage func(t *testing.T, data string)
		want   []string
	}{
		"short key": {func(t *testing.T, data string) {
			truncate(t, filepath.Join(data, "secrets/key"), 10)
		}, []string{"secrets/key", "32"}},
		"no key": {func(t *testing.T, data string) {
			if err := os.Remove(filepath.Join(data, "secrets/key")); err != nil {
				t.Fatal(err)
			}
		}, []string{"secrets/key"}},
		"cut records": {func(t *testing.T, data string) {
			blocks, err := filepath.Glob(filepath.Join(data, "jetstream/jetstream/*/streams/KV_functions/msgs/*.blk"))
			if err != nil || len(blocks) == 0 {
				t.Fatalf("found no records to damage: %v", err)
			}
			for _, block := range blocks {
				truncate(t, block, 10)
			}
		}, []string{"jetstream"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlatform(t)
			p.start()
			p.push("fn:latest", nil)
			p.must(202, "POST", "/system/secrets", `{"name":"token","value":"x"}`)
			p.must(202, "POST", "/system/functions", deployment("fn", "fn:latest", "v1", ""))
			p.kill()
			tc.damage(t, p.data)
			message := p.startInVain()
			if strings.Contains(message, "panic") || strings.Contains(message, "goroutine ") {
				t.Fatalf("it broke down:\n%s", message)
			}
			for _, part := range tc.want {
				if !strings.Contains(message, part) {
					t.Errorf("the message does not mention %q:\n%s", part, message)
				}
			}
		})
	}
}

func truncate(t *testing.T, path string, size int64) {
	t.Helper()
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
}
