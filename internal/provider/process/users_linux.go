package process

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"strings"
	"sync"

	"lofn"
)

// users gives each function that has replicas a user ID of its own, and more to
// those whose processes started before it was known whose they would be.
type users struct {
	first, count uint32

	mu   sync.Mutex
	byID map[uint32]lofn.Ref
	used map[lofn.Ref]*user
	// reserved are those that no function shares. They follow the functions' own
	// in number, and next is the one to be given out after the others.
	reserved map[uint32]bool
	spare    uint32
	next     uint32
}

type user struct {
	id       uint32
	replicas int
}

// The first range is one that no distribution and no container tool assigns
// (systemd's UIDS-GIDS lists it as unused). Where the platform is in a user
// namespace that does not have it, the range that systemd keeps for services
// with dynamic users is the next best.
var userRanges = []struct{ first, count, spare uint32 }{
	{1_900_000_000, 1 << 20, 1 << 20},
	{61184, 3072, 65519 - 61184 - 3072},
}

// newUsers returns nil if this user namespace has no range of IDs to spare.
func newUsers() *users {
	for _, r := range userRanges {
		if mapped(r.first) && mapped(r.first+r.count+r.spare) {
			return &users{
				first: r.first, count: r.count, byID: make(map[uint32]lofn.Ref), used: make(map[lofn.Ref]*user),
				reserved: make(map[uint32]bool), spare: r.spare, next: rand.Uint32N(r.spare),
			}
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

// reserve returns an ID that no function has or will get from acquire; false if
// there is none. One that was used comes up again as late as can be: what its
// last owner left in the kernel is not for the next.
func (u *users) reserve() (id uint32, ok bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if uint32(len(u.reserved)) == u.spare {
		return 0, false
	}
	for {
		id = u.first + u.count + u.next
		u.next = (u.next + 1) % u.spare
		if !u.reserved[id] {
			u.reserved[id] = true
			return id, true
		}
	}
}

// release gives back what acquire or reserve returned.
func (u *users) release(id uint32) {
	u.mu.Lock()
	defer u.mu.Unlock()
	ref, shared := u.byID[id]
	if !shared {
		delete(u.reserved, id)
		return
	}
	known := u.used[ref]
	if known.replicas--; known.replicas == 0 {
		delete(u.used, ref)
		delete(u.byID, id)
	}
}
