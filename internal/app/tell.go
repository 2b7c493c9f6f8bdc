package app

import (
	"fmt"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"lofn"
)

// tell tells the service manager, if there is one, how the platform fares.
func (p *platform) tell(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		p.log.Warn("the service manager was not told", "state", state, "error", err)
	}
}

// tellFailed tells the service manager that an upgrade failed. The time tells
// whoever asks for it which one.
func (p *platform) tellFailed(err error) {
	why := strings.ReplaceAll(err.Error(), "\n", " ")
	p.tell(fmt.Sprintf("READY=1\nSTATUS=%s at %s: %s", lofn.StatusUpgradeFailed, time.Now().Format(time.RFC3339), why))
}

// tellReady tells the service manager, or the process before this one, which
// tells it then, that calls are taken.
func (p *platform) tellReady() {
	if p.before == nil {
		p.tell("READY=1")
		return
	}
	if err := p.before.line.Send(message{Step: ready}); err != nil {
		// It is gone, and what it knew of the service manager's with it.
		p.log.Warn("the process before this one ended before it was told to", "error", err)
		p.tell("READY=1")
	}
}
