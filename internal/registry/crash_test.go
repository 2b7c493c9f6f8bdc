package registry_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lofn/internal/registry"
)

// Environment variables that turn the test binary into the process that a test
// kills.
const (
	crashDir    = "LOFN_TEST_CRASH_DIR"
	crashDigest = "LOFN_TEST_CRASH_DIGEST"
	crashWork   = "LOFN_TEST_CRASH_WORK"
	collecting  = "collect"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		work := unpackInChild
		if os.Getenv(crashWork) == collecting {
			work = collectInChild
		}
		if err := work(dir, os.Getenv(crashDigest)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// unpackInChild unpacks and prunes an image until it is killed.
func unpackInChild(dir, digest string) error {
	log := slog.New(slog.DiscardHandler)
	r, err := registry.New(registry.Config{Dir: filepath.Join(dir, "registry"), Log: log})
	if err != nil {
		return err
	}
	images, err := registry.NewImages(registry.ImagesConfig{Registry: r, Dir: filepath.Join(dir, "images"), Log: log})
	if err != nil {
		return err
	}
	fmt.Println("started")
	ctx := context.Background()
	for {
		if _, err := images.Unpack(ctx, "echo:1", digest); err != nil {
			return err
		}
		if err := images.Prune(ctx, func(string) bool { return false }); err != nil {
			return err
		}
	}
}

// collectInChild collects, and waits to be killed.
func collectInChild(dir, pinned string) error {
	r, err := registry.New(registry.Config{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	fmt.Println("started")
	if err := r.Collect(context.Background(), func(digest string) bool { return digest == pinned }); err != nil {
		return err
	}
	select {}
}

// TestKilledWhileCollecting kills a process at random moments of a collection:
// every manifest that is left is whole, and the next collection finishes.
func TestKilledWhileCollecting(t *testing.T) {
	seed := start(t, t.TempDir())
	var pushed []string
	for version := range 30 {
		pushed = append(pushed, seed.push(t, "echo:1", echo(t, version)))
	}
	pinned := pushed[0]
	t.Setenv(crashWork, collecting)
	rounds := 12
	if testing.Short() {
		rounds = 3
	}
	for round := range rounds {
		dir := filepath.Join(t.TempDir(), "registry")
		if err := os.CopyFS(dir, os.DirFS(seed.dir)); err != nil {
			t.Fatal(err)
		}
		ageAll(t, dir)
		b := built{dir: dir}
		things := []string{revisions, layers, blobs}[round%3]
		enough := 8 + rand.N(b.count(t, things)-9)
		killChild(t, dir, pinned, func() {
			eventually(t, "something is removed", func() bool { return b.count(t, things) <= enough })
		})
		t.Logf("killed with %d manifests, %d layers, %d blobs left", b.count(t, revisions), b.count(t, layers), b.count(t, blobs))
		checkCollected(t, start(t, dir), pushed, pinned)
	}
}

// checkCollected looks at what a collection left, and finishes it.
func checkCollected(t *testing.T, b built, pushed []string, pinned string) {
	t.Helper()
	for _, digest := range pushed {
		if exists(b.path("repositories/echo/_manifests/revisions/sha256"), digest[len("sha256:"):]+"/link") {
			b.whole(t, "echo@"+digest)
		}
	}
	b.age(t)
	b.collect(t, pinned)
	b.whole(t, "echo:1", "echo@"+pinned)
	for things, want := range map[string]int{revisions: 2, layers: 5, blobs: 7} {
		if got := b.count(t, things); got != want {
			t.Fatalf("then %d of %s stayed, want %d", got, things, want)
		}
	}
}

// TestKilledWhileUnpacking kills a process at random moments of unpacking and
// pruning: what is there afterwards is whole, and what was not whole is gone.
func TestKilledWhileUnpacking(t *testing.T) {
	dir := t.TempDir()
	var entries []entry
	for i := range 100 {
		entries = append(entries, file(fmt.Sprintf("home/app/f%d", i), strings.Repeat("x", 5000)))
	}
	digest := start(t, filepath.Join(dir, "registry")).push(t, "echo:1", buildImage(t, layer(entries...)))
	rounds := 20
	if testing.Short() {
		rounds = 3
	}
	for round := range rounds {
		killChild(t, dir, digest, func() { <-time.After(rand.N(60 * time.Millisecond)) })
		checkWhole(t, round, filepath.Join(dir, "images"), len(entries))
	}
	b := start(t, filepath.Join(dir, "registry"))
	images := newImages(t, b, filepath.Join(dir, "images"))
	if _, err := images.Unpack(t.Context(), "echo:1", digest); err != nil {
		t.Fatal(err)
	}
	if got := list(t, filepath.Join(dir, "images")); len(got) != 1 {
		t.Errorf("after a start there are %q, want one image", got)
	}
}

// killChild starts a process and kills it once the moment is there.
func killChild(t *testing.T, dir, digest string, moment func()) {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
	child.Env = append(os.Environ(), crashDir+"="+dir, crashDigest+"="+digest)
	var failure bytes.Buffer
	child.Stderr = &failure
	output, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	if !bufio.NewScanner(output).Scan() {
		t.Fatalf("the child did not start: %v, %s", child.Wait(), failure.String())
	}
	moment()
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := child.Wait(); err == nil || failure.Len() > 0 {
		t.Fatalf("the child ended by itself: %v, %s", err, failure.String())
	}
}

// checkWhole looks at what a killed process left, before anybody cleans up.
func checkWhole(t *testing.T, round int, dir string, files int) {
	t.Helper()
	for _, name := range list(t, dir) {
		if strings.HasPrefix(name, ".") {
			continue
		}
		app := filepath.Join(dir, name, "rootfs/home/app")
		got := list(t, app)
		if len(got) != files || !exists(dir, name+"/config.json") {
			t.Fatalf("round %d: an image with a name has %d files, want %d", round, len(got), files)
		}
		for _, file := range got {
			if info, err := os.Stat(filepath.Join(app, file)); err != nil || info.Size() != 5000 {
				t.Fatalf("round %d: %s has %d bytes, %v", round, file, info.Size(), err)
			}
		}
	}
}
