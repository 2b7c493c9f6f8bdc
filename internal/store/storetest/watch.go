package storetest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"lofn"
)

// watcher reads a watch in the background.
type watcher struct {
	changes chan lofn.Change[lofn.Function]
	// done is closed when the sequence ended.
	done   chan struct{}
	err    error
	cancel context.CancelFunc
}

func watch(t *testing.T, s Store) *watcher {
	ctx, cancel := context.WithCancel(t.Context())
	w := &watcher{changes: make(chan lofn.Change[lofn.Function], 10_000), done: make(chan struct{}), cancel: cancel}
	go func() {
		defer close(w.done)
		for change, err := range s.Watch(ctx) {
			if err != nil {
				w.err = err
				return
			}
			w.changes <- change
		}
	}()
	t.Cleanup(func() {
		cancel()
		w.wait(t)
	})
	return w
}

// next returns the next change as a word: "synced", "-name" or "name=image".
func (w *watcher) next(t *testing.T) string {
	t.Helper()
	select {
	case change := <-w.changes:
		return describe(change)
	case <-w.done:
		t.Fatalf("the watch ended by itself: %v", w.err)
	case <-time.After(timeout):
		t.Fatal("the watch yields nothing")
	}
	return ""
}

func (w *watcher) wait(t *testing.T) {
	t.Helper()
	select {
	case <-w.done:
	case <-time.After(timeout):
		t.Error("the watch did not end")
	}
	if w.err != nil {
		t.Errorf("the watch ended with %v", w.err)
	}
}

func (w *watcher) expect(t *testing.T, want ...string) {
	t.Helper()
	for i, word := range want {
		if got := w.next(t); got != word {
			t.Fatalf("change %d is %q, want %q of %q", i, got, word, want)
		}
	}
}

func describe(change lofn.Change[lofn.Function]) string {
	switch {
	case change.Synced && change.Record.Ref == lofn.Ref{}:
		return "synced"
	case change.Deleted:
		return "-" + change.Ref.Name
	case change.Revision == 0:
		return "without a revision: " + change.Ref.Name
	default:
		return change.Ref.Name + "=" + change.Value.Spec.Image
	}
}

func testWatch(t *testing.T, s Store) {
	first := mustPut(t, s, function(ref("a"), "1"), 0)
	mustPut(t, s, function(ref("b"), "1"), 0)
	w := watch(t, s)
	existing := []string{w.next(t), w.next(t)}
	slices.Sort(existing)
	if !slices.Equal(existing, []string{"a=1", "b=1"}) {
		t.Fatalf("the watch began with %q, want a and b in any order", existing)
	}
	w.expect(t, "synced")
	second := mustPut(t, s, function(ref("a"), "2"), first)
	w.expect(t, "a=2")
	mustPut(t, s, function(ref("c"), "1"), 0)
	w.expect(t, "c=1")
	mustDelete(t, s, ref("a"), second)
	w.expect(t, "-a")
}

func testWatchEmpty(t *testing.T, s Store) {
	w := watch(t, s)
	w.expect(t, "synced")
	mustPut(t, s, function(ref("a"), "1"), 0)
	w.expect(t, "a=1")
}

func testWatchSkipsDeleted(t *testing.T, s Store) {
	mustDelete(t, s, ref("gone"), mustPut(t, s, function(ref("gone"), "1"), 0))
	mustPut(t, s, function(ref("here"), "1"), 0)
	mustDelete(t, s, ref("last"), mustPut(t, s, function(ref("last"), "1"), 0))
	watch(t, s).expect(t, "here=1", "synced")
}

func testWatchRecreate(t *testing.T, s Store) {
	revision := mustPut(t, s, function(ref("a"), "1"), 0)
	w := watch(t, s)
	w.expect(t, "a=1", "synced")
	for i := range 3 {
		mustDelete(t, s, ref("a"), revision)
		w.expect(t, "-a")
		revision = mustPut(t, s, function(ref("a"), fmt.Sprint(i)), 0)
		w.expect(t, fmt.Sprintf("a=%d", i))
	}
}

func testWatchCancel(t *testing.T, s Store) {
	w := watch(t, s)
	w.expect(t, "synced")
	w.cancel()
	w.wait(t)
	mustPut(t, s, function(ref("a"), "1"), 0)
	select {
	case change := <-w.changes:
		t.Errorf("after its end the watch yielded %s", describe(change))
	default:
	}
}

func testWatchBreak(t *testing.T, s Store) {
	for i := range 5 {
		mustPut(t, s, function(ref(fmt.Sprintf("f%d", i)), "1"), 0)
	}
	for stop := range 6 {
		seen := 0
		for _, err := range s.Watch(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if seen++; seen > stop {
				break
			}
		}
		if seen != stop+1 {
			t.Errorf("a watch left at change %d yielded %d", stop+1, seen)
		}
	}
}

func testWatchers(t *testing.T, s Store) {
	const watchers, keys, rounds = 4, 5, 6
	all := make([]*watcher, watchers)
	for i := range all {
		all[i] = watch(t, s)
	}
	var group sync.WaitGroup
	for k := range keys {
		group.Go(func() { rewrite(t, s, ref(fmt.Sprintf("f%d", k)), rounds) })
	}
	group.Wait()
	for _, w := range all {
		w.untilAll(t, keys, fmt.Sprint(rounds-1))
	}
}

// rewrite puts images 0 to rounds-1, deleting the record between puts.
func rewrite(t *testing.T, s Store, r lofn.Ref, rounds int) {
	for i := range rounds {
		revision, err := s.Put(t.Context(), r, function(r, fmt.Sprint(i)), 0)
		if err == nil && i < rounds-1 {
			err = s.Delete(t.Context(), r, revision)
		}
		if err != nil {
			t.Error(err)
			return
		}
	}
}

// untilAll reads until keys records have the image, and checks that revisions
// of a key grow on the way.
func (w *watcher) untilAll(t *testing.T, keys int, image string) {
	t.Helper()
	latest := make(map[lofn.Ref]lofn.Revision)
	done := make(map[lofn.Ref]bool)
	for deadline := time.After(timeout); len(done) < keys; {
		select {
		case change := <-w.changes:
			if change.Synced || change.Deleted {
				continue
			}
			if change.Revision <= latest[change.Ref] {
				t.Fatalf("%s came at revision %d after %d", change.Ref, change.Revision, latest[change.Ref])
			}
			latest[change.Ref] = change.Revision
			if change.Value.Spec.Image == image {
				done[change.Ref] = true
			}
		case <-w.done:
			t.Fatalf("the watch ended by itself: %v", w.err)
		case <-deadline:
			t.Fatalf("%d of %d records came to their last state", len(done), keys)
		}
	}
}

func testSlowWatcher(t *testing.T, s Store) {
	const changes = 400
	last := make(map[lofn.Ref]string)
	for change, err := range s.Watch(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if change.Synced {
			churn(t, s, changes)
			continue
		}
		last[change.Ref] = describe(change)
		if change.Ref == ref("end") {
			break
		}
	}
	if got := last[ref("a")]; got != fmt.Sprintf("a=%d", changes-1) {
		t.Errorf("the watcher was left at %q, want the last of %d states", got, changes)
	}
	if got := last[ref("b")]; got != "" && got != "-b" {
		t.Errorf("the watcher was left at %q, want b deleted", got)
	}
}

// churn rewrites "a" that many times, makes and deletes "b", and puts "end".
func churn(t *testing.T, s Store, changes int) {
	var revision lofn.Revision
	for i := range changes {
		revision = mustPut(t, s, function(ref("a"), fmt.Sprint(i)), revision)
	}
	mustDelete(t, s, ref("b"), mustPut(t, s, function(ref("b"), "1"), 0))
	mustPut(t, s, function(ref("end"), "1"), 0)
}
