package ledger_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"lofn"
	"lofn/internal/queue/ledger"
	"lofn/internal/queue/mem"
)

// names are the blobs that there are.
func names(t *testing.T, b ledger.Blobs) (all []string) {
	t.Helper()
	for name := range b.Names(t.Context()) {
		all = append(all, name)
	}
	return all
}

// TestABodyIsKeptThroughCleaning: between the copy of a dead call's request and
// that of its outcome the log has them the other way round.
func TestABodyIsKeptThroughCleaning(t *testing.T) { synctest.Test(t, aBodyIsKept) }

func aBodyIsKept(t *testing.T) {
	log, blobs := mem.NewLog(), mem.NewBlobs()
	config := ledger.Config{Log: log, Blobs: blobs, Limits: lofn.DefaultQueueLimits, Worker: "w"}
	q, err := ledger.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	dead := submit(t, q, strings.Repeat("large", ledger.InlineSize))
	settle(t, take(t, q, false), lofn.Settlement{State: lofn.CallDead, Status: 500}, "")
	q.Abandon()

	// The first record has the request: it goes to the end, and is trimmed.
	var first []byte
	last := uint64(0)
	for r, err := range log.Read(t.Context(), 1) {
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = r.Data
		}
		last = r.Number
	}
	if _, err := log.Append(t.Context(), last, first, false); err != nil {
		t.Fatal(err)
	}
	if err := log.Trim(t.Context(), 2); err != nil {
		t.Fatal(err)
	}

	config.Alone = true
	next, err := ledger.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Abandon()
	synctest.Wait() // for what is swept
	if _, err := next.Redrive(t.Context(), dead); err != nil {
		t.Fatal(err)
	}
	d := take(t, next, false)
	body, err := d.Body(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if n := d.Call().Size; n != int64(5*ledger.InlineSize) {
		t.Errorf("the body has %d bytes", n)
	}
}

func TestARefusedCallLeavesNoBody(t *testing.T) {
	blobs := mem.NewBlobs()
	q, err := ledger.Open(t.Context(), ledger.Config{Log: mem.NewLog(), Blobs: blobs, Limits: lofn.DefaultQueueLimits, Worker: "w"})
	if err != nil {
		t.Fatal(err)
	}
	defer q.Abandon()
	_, err = q.Enqueue(t.Context(), lofn.Submission{
		Call: lofn.Call{Function: echo, Method: "POST", Path: "/", Query: strings.Repeat("q", 600<<10)},
		Body: strings.NewReader(strings.Repeat("large", ledger.InlineSize)),
	})
	if lofn.CodeOf(err) != lofn.Invalid {
		t.Errorf("got %v", err)
	}
	if left := names(t, blobs); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
}
