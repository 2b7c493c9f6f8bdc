// Package storetest is the specification of lofn.Store as tests. Every store
// runs it; internal/store/mem is the smallest one that passes.
package storetest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lofn"
)

// Store is the kind of store under test. The records are functions, because
// every store can keep those.
type Store = lofn.Store[lofn.Function]

// Run tests the stores that open returns: a new and empty one each time, which
// open arranges to be released by t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) Store) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, Store)
	}{
		{"Get returns what was put", testGet},
		{"Get of nothing is NotFound", testGetNothing},
		{"Put creates once", testPutCreatesOnce},
		{"Put replaces only the expected revision", testPutReplaces},
		{"Put after Delete", testPutAfterDelete},
		{"Put refuses names that cannot be", testPutInvalidName},
		{"Put of large values", testPutLarge},
		{"Delete needs the expected revision", testDelete},
		{"List is ordered and filtered", testList},
		{"values are not shared with the caller", testNotShared},
		{"one of many writers wins", testRace},
		{"no update is lost among many writers", testCounter},
		{"an ended context is an error", testEndedContext},
		{"Watch yields what exists, Synced, then changes", testWatch},
		{"Watch of an empty store is Synced at once", testWatchEmpty},
		{"Watch does not yield what was deleted before", testWatchSkipsDeleted},
		{"Watch over Delete and Put again", testWatchRecreate},
		{"Watch ends with its context", testWatchCancel},
		{"Watch ends when its reader breaks off", testWatchBreak},
		{"many watchers see the same end", testWatchers},
		{"a slow watcher sees the last state", testSlowWatcher},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
}

// timeout is how long a test waits for what must happen.
const timeout = 30 * time.Second

func ref(name string) lofn.Ref { return lofn.Ref{Namespace: lofn.DefaultNamespace, Name: name} }

func function(r lofn.Ref, image string) lofn.Function {
	return lofn.Function{
		Ref:        r,
		Spec:       lofn.Spec{Image: image, Env: map[string]string{"mode": "http"}},
		Replicas:   1,
		CreatedAt:  time.Date(2025, 3, 4, 5, 6, 7, 8, time.UTC),
		Generation: 1,
	}
}

func mustPut(t *testing.T, s Store, fn lofn.Function, expected lofn.Revision) lofn.Revision {
	t.Helper()
	revision, err := s.Put(t.Context(), fn.Ref, fn, expected)
	if err != nil {
		t.Fatalf("Put(%s, expected %d): %v", fn.Ref, expected, err)
	}
	return revision
}

func mustGet(t *testing.T, s Store, r lofn.Ref) lofn.Record[lofn.Function] {
	t.Helper()
	record, err := s.Get(t.Context(), r)
	if err != nil {
		t.Fatalf("Get(%s): %v", r, err)
	}
	return record
}

func mustDelete(t *testing.T, s Store, r lofn.Ref, expected lofn.Revision) {
	t.Helper()
	if err := s.Delete(t.Context(), r, expected); err != nil {
		t.Fatalf("Delete(%s, expected %d): %v", r, expected, err)
	}
}

func wantCode(t *testing.T, what string, err error, want lofn.Code) {
	t.Helper()
	if err == nil || lofn.CodeOf(err) != want {
		t.Fatalf("%s: error %v with code %d, want code %d", what, err, lofn.CodeOf(err), want)
	}
}

func testGet(t *testing.T, s Store) {
	want := function(ref("echo"), "echo:1")
	revision := mustPut(t, s, want, 0)
	if revision == 0 {
		t.Error("Put returned revision 0, which stands for \"does not exist\"")
	}
	got := mustGet(t, s, want.Ref)
	if got.Ref != want.Ref || got.Revision != revision {
		t.Errorf("Get returned %s at %d, want %s at %d", got.Ref, got.Revision, want.Ref, revision)
	}
	if got.Value.Spec.Image != "echo:1" || got.Value.Spec.Env["mode"] != "http" || !got.Value.CreatedAt.Equal(want.CreatedAt) {
		t.Errorf("Get returned %+v, want %+v", got.Value, want)
	}
}

func testGetNothing(t *testing.T, s Store) {
	mustPut(t, s, function(ref("echo"), "echo:1"), 0)
	for _, r := range []lofn.Ref{ref("other"), {Namespace: "other", Name: "echo"}, {}, ref("ECHO"), ref(">"), ref("*"), {Namespace: "*", Name: "echo"}} {
		_, err := s.Get(t.Context(), r)
		wantCode(t, fmt.Sprintf("Get(%q)", r), err, lofn.NotFound)
	}
}

func testPutCreatesOnce(t *testing.T, s Store) {
	mustPut(t, s, function(ref("echo"), "echo:1"), 0)
	_, err := s.Put(t.Context(), ref("echo"), function(ref("echo"), "echo:2"), 0)
	wantCode(t, "second Put", err, lofn.Exists)
	if got := mustGet(t, s, ref("echo")); got.Value.Spec.Image != "echo:1" {
		t.Errorf("the refused Put changed the value to %s", got.Value.Spec.Image)
	}
}

func testPutReplaces(t *testing.T, s Store) {
	first := mustPut(t, s, function(ref("echo"), "echo:1"), 0)
	second := mustPut(t, s, function(ref("echo"), "echo:2"), first)
	if second <= first {
		t.Errorf("revision went from %d to %d, want it to grow", first, second)
	}
	_, err := s.Put(t.Context(), ref("echo"), function(ref("echo"), "echo:3"), first)
	wantCode(t, "Put at the old revision", err, lofn.Conflict)
	_, err = s.Put(t.Context(), ref("other"), function(ref("other"), "echo:3"), second)
	wantCode(t, "Put of a new key at a revision", err, lofn.Conflict)
	if got := mustGet(t, s, ref("echo")); got.Value.Spec.Image != "echo:2" || got.Revision != second {
		t.Errorf("got %s at %d, want echo:2 at %d", got.Value.Spec.Image, got.Revision, second)
	}
}

func testPutAfterDelete(t *testing.T, s Store) {
	first := mustPut(t, s, function(ref("echo"), "echo:1"), 0)
	mustDelete(t, s, ref("echo"), first)
	_, err := s.Put(t.Context(), ref("echo"), function(ref("echo"), "echo:2"), first)
	wantCode(t, "Put at a deleted revision", err, lofn.Conflict)
	_, err = s.Get(t.Context(), ref("echo"))
	wantCode(t, "Get after Delete", err, lofn.NotFound)
	second := mustPut(t, s, function(ref("echo"), "echo:2"), 0)
	if second <= first {
		t.Errorf("revision went from %d to %d, want it to grow over Delete", first, second)
	}
}

func testPutInvalidName(t *testing.T, s Store) {
	for _, r := range []lofn.Ref{{}, ref(""), ref("UPPER"), ref("a b"), ref("*"), ref(">"), ref("a..b"), ref(".a"), ref("a/../b"), ref("é"), {Name: "echo"}, {Namespace: "a.b", Name: "echo"}, {Namespace: "*", Name: "echo"}, ref(strings.Repeat("a", 300))} {
		_, err := s.Put(t.Context(), r, function(r, "echo:1"), 0)
		wantCode(t, fmt.Sprintf("Put(%q)", r), err, lofn.Invalid)
	}
}

func testPutLarge(t *testing.T, s Store) {
	fn := function(ref("large"), "large:1")
	fn.Spec.Env["LARGE"] = strings.Repeat("0123456789abcdef", 1<<16)
	mustPut(t, s, fn, 0)
	if got := mustGet(t, s, fn.Ref); got.Value.Spec.Env["LARGE"] != fn.Spec.Env["LARGE"] {
		t.Errorf("a value of %d bytes came back with %d", len(fn.Spec.Env["LARGE"]), len(got.Value.Spec.Env["LARGE"]))
	}
}

func testDelete(t *testing.T, s Store) {
	wantCode(t, "Delete of nothing", s.Delete(t.Context(), ref("echo"), 1), lofn.NotFound)
	wantCode(t, "Delete of nothing at 0", s.Delete(t.Context(), ref("echo"), 0), lofn.NotFound)
	wantCode(t, "Delete of what cannot be", s.Delete(t.Context(), ref("*"), 1), lofn.NotFound)
	first := mustPut(t, s, function(ref("echo"), "echo:1"), 0)
	wantCode(t, "Delete at 0", s.Delete(t.Context(), ref("echo"), 0), lofn.Conflict)
	second := mustPut(t, s, function(ref("echo"), "echo:2"), first)
	wantCode(t, "Delete at the old revision", s.Delete(t.Context(), ref("echo"), first), lofn.Conflict)
	mustGet(t, s, ref("echo"))
	mustDelete(t, s, ref("echo"), second)
	wantCode(t, "second Delete", s.Delete(t.Context(), ref("echo"), second), lofn.NotFound)
	_, err := s.Get(t.Context(), ref("echo"))
	wantCode(t, "Get after Delete", err, lofn.NotFound)
}

func testList(t *testing.T, s Store) {
	refs := []lofn.Ref{
		{Namespace: "b", Name: "z"}, {Namespace: "a", Name: "y"}, {Namespace: "b", Name: "a"},
		{Namespace: "a-b", Name: "c"}, {Namespace: "a", Name: "b-c"}, {Namespace: "a", Name: "gone"},
	}
	for _, r := range refs {
		mustPut(t, s, function(r, "echo:1"), 0)
	}
	mustDelete(t, s, lofn.Ref{Namespace: "a", Name: "gone"}, mustGet(t, s, lofn.Ref{Namespace: "a", Name: "gone"}).Revision)
	for _, test := range []struct {
		namespace string
		want      []string
	}{
		{"", []string{"b-c.a", "y.a", "c.a-b", "a.b", "z.b"}},
		{"a", []string{"b-c.a", "y.a"}},
		{"b", []string{"a.b", "z.b"}},
		{"none", nil},
		{"*", nil},
		{">", nil},
	} {
		records, err := s.List(t.Context(), test.namespace)
		if err != nil {
			t.Fatalf("List(%q): %v", test.namespace, err)
		}
		var got []string
		for _, record := range records {
			got = append(got, record.Ref.String())
			if record.Value.Ref != record.Ref || record.Revision == 0 {
				t.Errorf("List(%q): %s at %d has the value of %s", test.namespace, record.Ref, record.Revision, record.Value.Ref)
			}
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("List(%q) = %v, want %v", test.namespace, got, test.want)
		}
	}
}

func testNotShared(t *testing.T, s Store) {
	fn := function(ref("echo"), "echo:1")
	mustPut(t, s, fn, 0)
	fn.Spec.Env["mode"] = "changed by the writer"
	mustGet(t, s, fn.Ref).Value.Spec.Env["mode"] = "changed by a reader"
	records, err := s.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	records[0].Value.Spec.Env["mode"] = "changed by a lister"
	if got := mustGet(t, s, fn.Ref).Value.Spec.Env["mode"]; got != "http" {
		t.Errorf("the stored value was %s", got)
	}
}

func testRace(t *testing.T, s Store) {
	const writers = 16
	first := mustPut(t, s, function(ref("echo"), "echo:0"), 0)
	results := make(chan error, writers)
	for i := range writers {
		go func() {
			_, err := s.Put(t.Context(), ref("echo"), function(ref("echo"), fmt.Sprintf("echo:%d", i)), first)
			results <- err
		}()
	}
	won := 0
	for range writers {
		switch err := <-results; {
		case err == nil:
			won++
		case lofn.CodeOf(err) != lofn.Conflict:
			t.Errorf("a losing writer got %v, want code Conflict", err)
		}
	}
	if won != 1 {
		t.Errorf("%d of %d writers at the same revision won, want 1", won, writers)
	}
}

func testCounter(t *testing.T, s Store) {
	const writers, rounds = 8, 5
	mustPut(t, s, lofn.Function{Ref: ref("counter"), Spec: lofn.Spec{Image: "counter:1"}}, 0)
	var group sync.WaitGroup
	for range writers {
		group.Go(func() {
			for range rounds {
				if err := increment(t.Context(), s, ref("counter")); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	if got := mustGet(t, s, ref("counter")).Value.Replicas; got != writers*rounds {
		t.Errorf("%d increments left %d", writers*rounds, got)
	}
}

func increment(ctx context.Context, s Store, r lofn.Ref) error {
	for {
		record, err := s.Get(ctx, r)
		if err != nil {
			return err
		}
		record.Value.Replicas++
		_, err = s.Put(ctx, r, record.Value, record.Revision)
		if err == nil || lofn.CodeOf(err) != lofn.Conflict {
			return err
		}
	}
}

func testEndedContext(t *testing.T, s Store) {
	revision := mustPut(t, s, function(ref("echo"), "echo:1"), 0)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Put(ctx, ref("echo"), function(ref("echo"), "echo:2"), revision); err == nil {
		t.Error("Put with an ended context returned no error")
	}
	if _, err := s.Get(ctx, ref("echo")); err == nil {
		t.Error("Get with an ended context returned no error")
	}
	if _, err := s.List(ctx, ""); err == nil {
		t.Error("List with an ended context returned no error")
	}
	if err := s.Delete(ctx, ref("echo"), revision); err == nil {
		t.Error("Delete with an ended context returned no error")
	}
	for change, err := range s.Watch(ctx) {
		t.Fatalf("Watch with an ended context yielded %+v, %v", change, err)
	}
}
