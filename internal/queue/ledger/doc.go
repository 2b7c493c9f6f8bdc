// Package ledger is the queue's rules: what may happen to a call, written as a
// state machine over a log. Every process that has the log reads the same
// records in the same order and comes to the same state; and it appends only
// to a log whose end it has read, so what it writes is right where it stands.
// That makes a lease exact: who lost it cannot settle any more, however late
// it notices.
//
// Many small steps, such as a call that is accepted, leased or settled, go into
// one record: those that come while the record before them is being written.
// So one flush to the disk serves all that came together.
package ledger
