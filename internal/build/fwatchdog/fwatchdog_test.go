package fwatchdog_test

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"lofn"
	"lofn/internal/build/fwatchdog"
)

// compile makes a program for a processor.
func compile(t *testing.T, file, arch string) {
	t.Helper()
	source := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(source, []byte("package main\n\nfunc main() {}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "build", "-o", file, source)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
}

func TestAFolderComesFirst(t *testing.T) {
	folder := t.TempDir()
	file := filepath.Join(folder, "fwatchdog-linux-arm64")
	compile(t, file, "arm64")
	found, err := fwatchdog.Find("arm64", folder)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(found.Open())
	if err != nil || string(got) != string(want) || found.Size() != int64(len(want)) || !strings.HasPrefix(found.Digest, "sha256:") {
		t.Errorf("%d bytes of %d, %s, %v", len(got), len(want), found.Digest, err)
	}
}

func TestWhatDoesNotRunIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		put  func(t *testing.T, file string)
		want string
	}{
		"another processor": {func(t *testing.T, file string) { compile(t, file, "amd64") }, "is a program for EM_X86_64, and not for arm64"},
		"no program": {func(t *testing.T, file string) {
			if err := os.WriteFile(file, []byte("#!/bin/sh\n"), 0o755); err != nil {
				t.Fatal(err)
			}
		}, "is no program for Linux"},
		"a folder": {func(t *testing.T, file string) {
			if err := os.Mkdir(file, 0o755); err != nil {
				t.Fatal(err)
			}
		}, "is a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			c.put(t, filepath.Join(folder, "fwatchdog-linux-arm64"))
			_, err := fwatchdog.Find("arm64", folder)
			if lofn.CodeOf(err) != lofn.Invalid || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestNoneSaysWhatToDo(t *testing.T) {
	_, err := fwatchdog.Find("riscv64", t.TempDir())
	if lofn.CodeOf(err) != lofn.Unavailable || !strings.Contains(err.Error(), `"make build"`) || !strings.Contains(err.Error(), "or put fwatchdog-linux-riscv64 into ") {
		t.Errorf("got %v", err)
	}
}
