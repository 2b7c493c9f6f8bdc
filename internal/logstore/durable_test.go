package logstore_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"lofn"
	"lofn/internal/logstore"
)

// TestMain turns the test binary into a process that writes lines to the store
// in the folder of its argument, and to its standard output those that are kept.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "write-lines" {
		writeLines(os.Args[2])
	}
	os.Exit(m.Run())
}

func writeLines(dir string) {
	s, err := logstore.Open(logstore.Config{Dir: dir, MaxBytes: 64 << 20})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	w := s.Writer(ref(), fmt.Sprint(os.Getpid()))
	for i := 0; ; i++ {
		length := i % 1000
		if i%50 == 0 {
			length = 80 << 10
		}
		_, _ = fmt.Fprintf(w, "%d %0*d\n", i, length, 0)
		fmt.Println(i)
	}
}

// Whatever moment a process is killed at, its lines are there, and the next
// goes on after them.
func TestKilled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	want := 0
	for round := range 5 {
		cmd := exec.CommandContext(soon(t), os.Args[0], "write-lines", dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		kept := 0
		said := bufio.NewScanner(out)
		for said.Scan() {
			if kept++; kept == 60+17*round {
				_ = cmd.Process.Kill()
			}
		}
		_ = cmd.Wait()

		s := open(t, logstore.Config{Dir: dir, MaxBytes: 64 << 20})
		lines := query(t, s, lofn.LogQuery{Instance: fmt.Sprint(cmd.Process.Pid)})
		// One more may have been kept than the process came to say.
		if len(lines) != kept && len(lines) != kept+1 {
			t.Errorf("%d lines were said to be kept, %d are", kept, len(lines))
		}
		for i, line := range lines {
			if !strings.HasPrefix(line.Text, fmt.Sprintf("%d 0", i)) {
				t.Fatalf("line %d is %.40q", i, line.Text)
			}
		}
		want += len(lines) + 1
		write(t, s, "after", "after\n")
		if left := files(t, dir, "*.part"); left != nil {
			t.Errorf("left behind: %q", left)
		}
		if all := query(t, s, lofn.LogQuery{}); len(all) != want || all[want-1].Text != "after" {
			t.Errorf("%d lines in all, want %d", len(all), want)
		}
		_ = s.Close()
	}
}

func TestTornRecordIsLeftOut(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, open(t, logstore.Config{Dir: dir}), "i", "a\nb\nc\n")
	file := files(t, dir, "*.log")[0]
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const beginning, record = 8, 30
	for size := range whole {
		_ = os.Remove(strings.Replace(file, "1.log", "2.log", 1))
		if err := os.WriteFile(file, whole[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		want := []string{"a", "b", "c"}[:max(0, size-beginning)/record]
		s := open(t, logstore.Config{Dir: dir})
		f := follow(t, s, soon(t), lofn.LogQuery{})
		expect(t, query(t, s, lofn.LogQuery{}), want...)
		write(t, s, "i", "d\n")
		want = append(want[:len(want):len(want)], "d")
		expect(t, query(t, s, lofn.LogQuery{}), want...)
		for _, text := range want {
			if got := f.line(); got != text {
				t.Errorf("follower: got %q, want %q", got, text)
			}
		}
		_ = s.Close()
	}
}

func TestDamageIsSaid(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		damage func([]byte) []byte
		want   []string
	}{
		{"a flipped bit", func(b []byte) []byte { b[len(b)-1] ^= 1; return b }, []string{"a", "b", "lofn: 30 bytes of the log are damaged and were left out", "d"}},
		{"zeros at the end", func(b []byte) []byte { return append(b, make([]byte, 100)...) },
			[]string{"a", "b", "c", "lofn: 100 bytes of the log are damaged and were left out", "d"}},
		{"another format", func(b []byte) []byte { b[0] = 'x'; return b }, []string{"lofn: 98 bytes of the log are damaged and were left out", "d"}},
		{"nothing", func([]byte) []byte { return nil }, []string{"d"}},
		{"half a beginning", func(b []byte) []byte { return b[:4] }, []string{"d"}},
		{"half of another beginning", func([]byte) []byte { return []byte("lofx") }, []string{"lofn: 4 bytes of the log are damaged and were left out", "d"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, open(t, logstore.Config{Dir: dir}), "i", "a\nb\nc\n")
			file := files(t, dir, "*.log")[0]
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, c.damage(b), 0o600); err != nil {
				t.Fatal(err)
			}
			s := open(t, logstore.Config{Dir: dir})
			f := follow(t, s, soon(t), lofn.LogQuery{})
			write(t, s, "i", "d\n")
			expect(t, query(t, s, lofn.LogQuery{}), c.want...)
			for _, want := range c.want {
				if got := f.line(); got != want {
					t.Errorf("follower: got %q, want %q", got, want)
				}
			}
		})
	}
}

// What a killed process was about to keep aside is not left on the disk.
func TestOrphansAreDeleted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, open(t, logstore.Config{Dir: dir}), "i", "a\n", strings.Repeat("x", 70<<10)+"\n")
	kept := files(t, dir, "*.line")
	folder := filepath.Dir(kept[0])
	for _, name := range []string{"00000000000000000001-00000000000000000003.line", "00000000000000000009-00000000000000000001.line", "123.part"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, logstore.Config{Dir: dir})
	if n := len(query(t, s, lofn.LogQuery{})); n != 2 {
		t.Errorf("%d lines", n)
	}
	if left := files(t, dir, "*"); len(left) != 2 {
		t.Errorf("left: %q", left)
	}
}

func TestForeignFilesAreLeftAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, open(t, logstore.Config{Dir: dir}), "i", "a\n")
	folder := filepath.Dir(files(t, dir, "*.log")[0])
	for _, name := range []string{"1.log", "x.log", "notes.txt", "00000000000000000001.log.bak"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(folder, "00000000000000000009.log"), 0o700); err != nil {
		t.Fatal(err)
	}
	s := open(t, logstore.Config{Dir: dir})
	write(t, s, "i", "b\n")
	expect(t, query(t, s, lofn.LogQuery{}), "a", "b")
	if n := len(files(t, dir, "*")); n != 6 {
		t.Errorf("%d files", n)
	}
}

// A full disk costs lines, never the writer, and the log says how many.
func TestFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting a small file system needs root")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("a small file system cannot be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	s := open(t, logstore.Config{Dir: filepath.Join(dir, "logs")})
	t.Cleanup(func() { _ = s.Close() })
	write(t, s, "i", "before\n")
	ballast := filepath.Join(dir, "ballast")
	_ = os.WriteFile(ballast, make([]byte, 2<<20), 0o600)

	// What is left of the last page may take some lines yet.
	w := s.Writer(ref(), "i")
	for i := range 300 {
		if _, err := fmt.Fprintf(w, "%d %0100d\n", i, 0); err != nil {
			t.Fatal(err)
		}
	}
	full := len(query(t, s, lofn.LogQuery{}))
	if full > 50 {
		t.Fatalf("%d lines are kept on a full disk", full)
	}
	if _, err := w.Write([]byte(strings.Repeat("x", 200<<10) + "\n")); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if n := len(query(t, s, lofn.LogQuery{})); n != full+1 {
		t.Errorf("%d lines as soon as there is room, want %d", n, full+1)
	}
	if _, err := w.Write([]byte("after\n")); err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	s = open(t, logstore.Config{Dir: filepath.Join(dir, "logs")})
	got := texts(query(t, s, lofn.LogQuery{}))
	want := fmt.Sprintf("lofn: %d lines were not kept: no space left on device", 300-(full-1)+1)
	if len(got) != full+2 || got[full] != want || got[full+1] != "after" {
		t.Errorf("got %.60q, want %q and after", got[full:], want)
	}
}

// FuzzSegment reads files with anything in them.
func FuzzSegment(f *testing.F) {
	dir := f.TempDir()
	s, err := logstore.Open(logstore.Config{Dir: dir})
	if err != nil {
		f.Fatal(err)
	}
	w := s.Writer(ref(), "i")
	_, _ = w.Write([]byte("a\nb\n" + strings.Repeat("x", 65<<10) + "\n"))
	_ = s.Close()
	folder := filepath.Join(dir, ref().Namespace, ref().Name)
	whole, err := os.ReadFile(filepath.Join(folder, "00000000000000000001.log"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:len(whole)-3])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, content []byte) {
		dir := t.TempDir()
		folder := filepath.Join(dir, ref().Namespace, ref().Name)
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"00000000000000000001.log", "00000000000000000002.log"} {
			if err := os.WriteFile(filepath.Join(folder, name), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s := open(t, logstore.Config{Dir: dir})
		write(t, s, "i", "new\n")
		for _, q := range []lofn.LogQuery{{}, {Tail: 2}} {
			lines := query(t, s, q)
			if len(lines) == 0 || lines[len(lines)-1].Text != "new" {
				t.Errorf("got %.200q", texts(lines))
			}
		}
		_ = s.Close()
	})
}
