// Command fwatchdog runs inside a function's container: it takes the HTTP
// requests of the gateway and feeds the function's process with them. It stands
// in for of-watchdog and classic-watchdog of OpenFaaS: package watchdog says
// where it differs from them on purpose.
//
// It exits with 0 after SIGTERM, when the calls that were at work have ended,
// and with 1 if the function's configuration makes no sense or its process, in
// mode http, has ended.
package main

import (
	"flag"
	"fmt"
	"io"
	stdlog "log"
	"os"
	"os/signal"
	"syscall"

	"lofn/internal/watchdog"
)

// Set by -ldflags "-X main.release=… -X main.commit=…".
var release, commit string

func main() { os.Exit(run(os.Args, os.Environ(), os.Stderr)) }

func run(args, env []string, stderr io.Writer) int {
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.SetOutput(stderr)
	version := flags.Bool("version", false, "print the version and exit")
	health := flags.Bool("run-healthcheck", false, "exit with 0 if the lock file is there, for a health check that runs a command")
	if err := flags.Parse(args[1:]); err != nil {
		return 2
	}
	if *health {
		return healthcheck(stderr)
	}
	log := newLog(stderr)
	defer log.Close()
	stdlog.SetOutput(log) // some of what net/http says goes nowhere else
	log.Printf("Version: %s\tSHA: %s", or(release, "dev"), or(commit, "unknown"))
	if *version {
		return 0
	}
	config, err := watchdog.StandaloneFromEnv(args[0], env)
	if err == nil {
		signals := make(chan os.Signal, 2)
		signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
		err = (&container{config: config, env: env, log: log, signals: signals}).run()
	}
	if err != nil {
		log.Printf("Error: %v", err)
		return 1
	}
	return 0
}

func healthcheck(stderr io.Writer) int {
	if !lockPresent() {
		fmt.Fprintln(stderr, "unable to find lock file.")
		return 1
	}
	return 0
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}
