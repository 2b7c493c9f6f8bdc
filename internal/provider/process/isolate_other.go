//go:build !linux

package process

// Isolate has no effect here: see New.
func Isolate() (status int, started bool) { return 0, false }
