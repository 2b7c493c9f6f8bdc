package logstore_test

import (
	"context"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"lofn"
	"lofn/internal/logstore"
)

// patience is far more than anything here takes; it ends a test that would
// hang otherwise.
const patience = 60 * time.Second

func ref() lofn.Ref { return lofn.Ref{Namespace: "openfaas-fn", Name: "echo"} }

func open(t *testing.T, config logstore.Config) *logstore.Store {
	t.Helper()
	if config.Dir == "" {
		config.Dir = t.TempDir()
	}
	s, err := logstore.Open(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// query returns the lines selected, which is to come without an error.
func query(t *testing.T, s *logstore.Store, q lofn.LogQuery) []lofn.LogLine {
	t.Helper()
	q.Function = ref()
	var lines []lofn.LogLine
	for line, err := range s.Logs(soon(t), q) {
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
	return lines
}

func texts(lines []lofn.LogLine) []string {
	var all []string
	for _, l := range lines {
		all = append(all, l.Text)
	}
	return all
}

func expect(t *testing.T, got []lofn.LogLine, want ...string) {
	t.Helper()
	if !slices.Equal(texts(got), want) {
		t.Errorf("got %.300q, want %.300q", texts(got), want)
	}
}

func write(t *testing.T, s *logstore.Store, instance string, pieces ...string) {
	t.Helper()
	w := s.Writer(ref(), instance)
	for _, p := range pieces {
		if n, err := w.Write([]byte(p)); n != len(p) || err != nil {
			t.Errorf("Write: %d, %v", n, err)
		}
	}
	if err := w.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// follower is a query that follows, a line at a time.
type follower struct {
	t    *testing.T
	next func() (lofn.LogLine, error, bool)
	stop func()
}

func follow(t *testing.T, s *logstore.Store, ctx context.Context, q lofn.LogQuery) follower {
	t.Helper()
	q.Function, q.Follow = ref(), true
	next, stop := iter.Pull2(s.Logs(ctx, q))
	t.Cleanup(stop)
	return follower{t, next, stop}
}

func (f follower) line() string {
	f.t.Helper()
	line, err, ok := f.next()
	if !ok || err != nil {
		f.t.Fatalf("the query ended: %v, %v", ok, err)
	}
	return line.Text
}

func (f follower) ended() {
	f.t.Helper()
	if line, err, ok := f.next(); ok {
		f.t.Fatalf("the query goes on: %q, %v", line.Text, err)
	}
}

// usage is the size of all files under a folder.
func usage(t *testing.T, dir string) int64 {
	t.Helper()
	var total int64
	err := filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return total
}

// files returns the function's files whose names match.
func files(t *testing.T, dir, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, ref().Namespace, ref().Name, pattern))
	if err != nil {
		t.Fatal(err)
	}
	return found
}
