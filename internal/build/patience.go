package build

import (
	"fmt"
	"time"
)

// firstNote is how long a step may take before the log says that it is still
// at work; each later note comes after twice the time.
const firstNote = 10 * time.Second

// stillAtIt writes notes to the log from now on, the first one with the reason
// if there is one. After stop has returned nothing more is written.
func (l *logger) stillAtIt(reason string) (stop func()) {
	if !l.shown() {
		return func() {}
	}
	done, ended := make(chan struct{}), make(chan struct{})
	begun := time.Now()
	go func() {
		defer close(ended)
		for after := firstNote; ; after *= 2 {
			select {
			case <-done:
				return
			case <-time.After(time.Until(begun.Add(after))):
			}
			l.line(note(after, reason))
			reason = ""
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

func note(after time.Duration, reason string) string {
	text := fmt.Sprintf("  still at it after %v", after)
	if reason != "" {
		text += ": " + reason
	}
	return text
}
