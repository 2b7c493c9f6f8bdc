// Package lofn is the vocabulary of lofn, functions as a service for people
// who run their own machines.
//
// A function is a small stateless program that runs on demand. Somebody
// describes it (Function), a Store keeps the description, a Provider turns it
// into running copies (Replica), and calls reach those through the gateway.
// This package names these things and what they promise each other; it
// imports only the standard library, and every other package imports it.
//
// What happens, and where:
//
//	call      gateway → pool (a lease on a replica) → invoke → replica → back
//	cold call the lease waits and wakes deploy → Provider.Ensure → Watch → pool
//	deploy    cli → client → api → Store.Put → deploy → Provider.Ensure
//	async     gateway → queue … worker → invoke → done, retry or dead letter
//	event     source → queue, or invoke
//
// The last one is still to come. docs/ARCHITECTURE.md follows each flow through
// the files, docs/RATIONALE.md says why things are as they are, and
// policy_test.go holds the tree to both.
package lofn
