//go:build !linux

package process

import "os"

// EnvIsolated and EnvWarden have no meaning here.
const EnvIsolated, EnvWarden = "LOFN_ISOLATED", "LOFN_WARDEN"

// Isolate has no effect here: see New.
func Isolate() (status int, started bool) { return 0, false }

// Warden does not exist here.
type Warden struct{}

// FindWarden returns nil.
func FindWarden() *Warden { return nil }

// File returns nil.
func (*Warden) File() *os.File { return nil }

// Follow does nothing.
func (*Warden) Follow(int) error { return nil }

// Await returns at once.
func (*Warden) Await() {}
