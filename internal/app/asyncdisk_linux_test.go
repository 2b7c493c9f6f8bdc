package app_test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"lofn"
)

// onSmallDisk gives a platform a disk of that many MiB, but for its images, or
// skips the test.
func onSmallDisk(p *platform, mebibytes string) {
	p.Helper()
	if os.Getuid() != 0 {
		p.Skip("mounting a small disk needs root")
	}
	if err := syscall.Mount("tmpfs", p.data, "tmpfs", 0, "size="+mebibytes+"m"); err != nil {
		p.Skipf("a small disk cannot be mounted here: %v", err)
	}
	p.Cleanup(func() {
		p.kill()
		// Functions that are just ending may still have it.
		if err := syscall.Unmount(p.data, syscall.MNT_DETACH); err != nil {
			p.Error(err)
		}
	})
	elsewhere := shortTempDir(p.T)
	for _, name := range []string{"registry", "images"} {
		err := errors.Join(os.Mkdir(filepath.Join(elsewhere, name), 0o700), os.Symlink(filepath.Join(elsewhere, name), filepath.Join(p.data, name)))
		if err != nil {
			p.Fatal(err)
		}
	}
}

// ballast fills so many bytes of the platform's disk, or all that there is.
func (p *platform) ballast(name string, bytes int) (remove func()) {
	p.Helper()
	path := filepath.Join(p.data, name)
	f, err := os.Create(path)
	if err != nil {
		p.Fatal(err)
	}
	defer f.Close()
	chunk := make([]byte, 4096)
	for n := 0; err == nil && (bytes == 0 || n < bytes); n += len(chunk) {
		_, err = f.Write(chunk)
	}
	return func() {
		p.Helper()
		if err := os.Remove(path); err != nil {
			p.Error(err)
		}
	}
}

// bodies are the files of large bodies.
func (p *platform) bodies() (names []string) {
	p.Helper()
	entries, err := os.ReadDir(filepath.Join(p.data, "bodies"))
	if err != nil {
		p.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestAFullDiskRefusesCallsAndKeepsWhatItAccepted(t *testing.T) {
	p, v := newPlatform(t), newVisits(t)
	onSmallDisk(p, "64")
	p.start()
	p.push("fn:latest", nil)
	p.visiting("fn", nil)
	path, large := v.path("fn", http.StatusOK), strings.Repeat("x", 1<<20)
	running, queued, wordy := numbered("running", 2), numbered("queued", 60), numbered("wordy", 1)
	v.hold(append(append(running, queued...), wordy...)...)
	p.accept(path, "", running...)
	p.accept(path, large, wordy...)
	p.comeTo(lofn.CallRunning, append(running, wordy...)...)
	p.accept(path, "", queued...)
	before := len(p.bodies())

	some := p.ballast("some", 4<<20)
	most := p.ballast("most", 0)
	refuse := func() {
		t.Helper()
		for kind, body := range map[string]string{"small": "", "large": large, "larger": strings.Repeat(large, 4)} {
			status, answer := p.submit("refused", path, body)
			if status != http.StatusInsufficientStorage || !strings.Contains(answer, "the disk of the queue is full") {
				t.Errorf("a %s call on a full disk: %d %s", kind, status, answer)
			}
		}
		if s := p.call("refused"); s.State != "" {
			t.Errorf("the refused call is %+v", s)
		}
		if after := p.bodies(); len(after) != before {
			t.Errorf("%d bodies became %d by refused calls", before, len(after))
		}
	}
	refuse()
	v.free(running...)
	v.free(queued...)
	v.free(wordy...)
	p.eventually("the calls are made, though it cannot be written down", func() bool {
		return strings.Contains(p.stderr.String(), "what became of calls cannot be written down")
	})
	for _, id := range append(running, wordy...) {
		if s := p.call(id); s.State.Final() && s.State != lofn.CallSucceeded {
			t.Errorf("on a full disk call %s is %+v", id, s)
		}
	}
	p.kill()
	p.start() // with nothing free
	p.eventually("the answer that was being written is gone", func() bool { return len(p.bodies()) == before })
	refuse()
	some() // the room that is kept back for outcomes
	p.comeTo(lofn.CallSucceeded, running...)
	p.comeTo(lofn.CallSucceeded, queued...)
	refuse()
	if s := p.call(wordy[0]); s.State.Final() {
		t.Errorf("there is no room for its answer, and call %s is %+v", wordy[0], s)
	}
	most()
	p.comeTo(lofn.CallSucceeded, wordy...)
	if got := p.must(200, "GET", "/async-function/calls/"+wordy[0]+"/result", ""); got != large {
		t.Errorf("of the large answer %d bytes are there", len(got))
	}
	later := numbered("later", 3)
	p.accept(path, large, later...)
	p.comeTo(lofn.CallSucceeded, later...)
	p.eventually("of the bodies only the answers are left", func() bool { return len(p.bodies()) == 4 })
	for _, id := range append(running, queued...) {
		if attempts, _ := v.of(id); len(attempts) > 2 {
			t.Errorf("with one kill call %s was made as attempts %v", id, attempts)
		}
	}
}
