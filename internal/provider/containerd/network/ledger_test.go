package network

import (
	"errors"
	"io/fs"
	"slices"
	"sync"
	"testing"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func ledgerIn(t *testing.T, dir string) *ledger {
	t.Helper()
	l, err := openLedger(dir)
	must(t, err)
	return l
}

func TestSparesAreClaimedOnce(t *testing.T) {
	dir := t.TempDir()
	one, two := ledgerIn(t, dir), ledgerIn(t, dir)
	const many = 100
	var offered []string
	for range many {
		id, err := one.begin()
		must(t, err)
		must(t, one.offer(id))
		offered = append(offered, id)
	}
	var mu sync.Mutex
	var claimed []string
	var all sync.WaitGroup
	for _, l := range []*ledger{one, two, one, two} {
		all.Go(func() {
			for {
				id, err := l.claim()
				if err != nil {
					t.Error(err)
				}
				if id == "" || err != nil {
					return
				}
				mu.Lock()
				claimed = append(claimed, id)
				mu.Unlock()
			}
		})
	}
	all.Wait()
	slices.Sort(offered)
	slices.Sort(claimed)
	if !slices.Equal(offered, claimed) {
		t.Errorf("%d were offered, and claimed %d times", len(offered), len(claimed))
	}
}

func TestOnlyTheDeadLoseWhatTheyHave(t *testing.T) {
	dir := t.TempDir()
	gone, alive, own := ledgerIn(t, dir), ledgerIn(t, dir), ledgerIn(t, dir)
	var ids []string
	for _, l := range []*ledger{gone, gone, alive, own} {
		id, err := l.begin()
		must(t, err)
		ids = append(ids, id)
	}
	gone.close()
	if used, err := own.others(); !used || err != nil {
		t.Errorf("nobody else is there: %v", err)
	}
	must(t, own.condemn(func(id string) bool { return id == ids[0] }))
	if dead, err := own.buriable(); err != nil || !slices.Equal(dead, ids[1:2]) {
		t.Errorf("dead are %q, want %q: %v", dead, ids[1:2], err)
	}
	must(t, own.adopt(ids[0]))
	must(t, own.adopt(ids[2]))
	must(t, own.adopt(ids[3]))
	if err := own.adopt(ids[1]); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the dead are adopted: %v", err)
	}
	alive.close()
	if used, err := own.others(); used || err != nil {
		t.Errorf("somebody else is there: %v", err)
	}
}
