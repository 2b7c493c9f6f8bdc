package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// onHangup tells what SIGHUP means: that the program shall be upgraded, which
// the channel says, or that the terminal is gone that it was started from; then
// the context ends.
func onHangup(ctx context.Context) (context.Context, <-chan os.Signal, func()) {
	ctx, cancel := context.WithCancel(ctx)
	signals, upgrades := make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	fromTerminal := hasTerminal()
	go func() {
		for {
			select {
			case s := <-signals:
				if fromTerminal && !hasTerminal() {
					cancel()
					return
				}
				select {
				case upgrades <- s:
				default: // one is asked for already
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return ctx, upgrades, func() {
		signal.Stop(signals)
		cancel()
	}
}

// hasTerminal reports whether this process belongs to a terminal that is still
// there.
func hasTerminal() bool {
	terminal, err := os.Open("/dev/tty")
	if err != nil {
		return false
	}
	_ = terminal.Close()
	return true
}
