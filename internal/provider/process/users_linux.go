package process

import (
	"fmt"
	"hash/fnv"
	"os"
	"strings"
	"sync"

	"lofn"
)

// users gives each function that has replicas a user ID of its own.
type users struct {
	first, count uint32

	mu   sync.Mutex
	byID map[uint32]lofn.Ref
	used map[lofn.Ref]*user
}

type user struct {
	id       uint32
	replicas int
}

// The first range is one that no distribution and no container tool assigns
// (systemd's UIDS-GIDS lists it as unused). Where the platform is in a user
// namespace that does not have it, the range that systemd keeps for services
// with dynamic users is the next best.
var userRanges = []struct{ first, count uint32 }{
	{1_900_000_000, 1 << 20},
	{61184, 65519 - 61184},
}

// newUsers returns nil if this user namespace has no range of IDs to spare.
func newUsers() *users {
	for _, r := range userRanges {
		if mapped(r.first) && mapped(r.first+r.count) {
			return &users{first: r.first, count: r.count, byID: make(map[uint32]lofn.Ref), used: make(map[lofn.Ref]*user)}
		}
	}
	return nil
}

// mapped reports whether an ID exists in this process's user namespace.
func mapped(id uint32) bool {
	_, ok := outside("uid", id)
	return ok
}

// outside returns what a user ("uid") or group ("gid") ID is called in the
// parent user namespace.
func outside(kind string, id uint32) (parent uint32, ok bool) {
	table, err := os.ReadFile("/proc/self/" + kind + "_map")
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(table)) {
		var first, to, count uint64
		if n, _ := fmt.Sscan(line, &first, &to, &count); n == 3 && uint64(id) >= first && uint64(id) < first+count {
			return uint32(uint64(id) - first + to), true
		}
	}
	return 0, false
}

// acquire returns the function's ID: the same for all its replicas, and as far
// as others leave it free the same as ever.
func (u *users) acquire(ref lofn.Ref) uint32 {
	u.mu.Lock()
	defer u.mu.Unlock()
	if known := u.used[ref]; known != nil {
		known.replicas++
		return known.id
	}
	hash := fnv.New32a()
	hash.Write([]byte(strings.Join([]string{ref.Namespace, ref.Name}, "/")))
	id := u.first + hash.Sum32()%u.count
	for u.byID[id] != (lofn.Ref{}) {
		id = u.first + (id-u.first+1)%u.count
	}
	u.byID[id], u.used[ref] = ref, &user{id: id, replicas: 1}
	return id
}

func (u *users) release(ref lofn.Ref) {
	u.mu.Lock()
	defer u.mu.Unlock()
	known := u.used[ref]
	if known.replicas--; known.replicas == 0 {
		delete(u.used, ref)
		delete(u.byID, known.id)
	}
}
