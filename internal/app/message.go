package app

import (
	"context"
	"fmt"

	"lofn"
	"lofn/internal/handover"
)

// message is what the process that goes and the one that comes tell each other
// during an upgrade. One field is set.
type message struct {
	Step   step    `json:",omitempty"`
	Estate *estate `json:",omitempty"`
	Output *output `json:",omitempty"`
	// Container is what became of one, and Drain one that is to be stopped; both
	// come from the new process. The old one answers with its ID in Drained, when
	// it has no call on it any more.
	Container *lofn.Replica `json:",omitempty"`
	Drain     *lofn.Replica `json:",omitempty"`
	Drained   string        `json:",omitempty"`
	// Waiting are the calls that wait for containers in the old process.
	Waiting *[]waitingCalls `json:",omitempty"`
}

// waitingCalls is how many calls of a function wait.
type waitingCalls struct {
	Function lofn.Ref
	Count    int
}

// is returns an error if the message is not that a step was taken.
func (m message) is(s step) error {
	if m.Step != s {
		return fmt.Errorf("the other process said %q where %q was expected", m.Step, s)
	}
	return nil
}

// step is how far an upgrade is.
type step string

const (
	// waiting: the new process has done what it can without the data.
	waiting step = "waiting"
	// ready: it takes calls.
	ready step = "ready"
	// stopping: it was told to stop, so the one before shall not take long.
	stopping step = "stopping"
)

// estate is what the new process gets along with the data.
type estate struct {
	// Ready counts the replicas that take calls, by function as in a URL.
	Ready map[string]int
	// Digests are the images that replicas run from.
	Digests []string
	// Workers are the names under which processes make asynchronous calls.
	Workers []string
	// UploadSecret is the registry's.
	UploadSecret string
}

// await returns when the other side has come to the step.
func await(ctx context.Context, line *handover.Line, s step) error {
	var m message
	if err := line.Receive(ctx, &m); err != nil {
		return err
	}
	return m.is(s)
}
