// Command lofn is functions as a service in one binary: `lofn serve` is the
// platform, every other command talks to it.
package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"lofn/internal/app"
	"lofn/internal/cli"
)

// Set by -ldflags "-X main.release=… -X main.commit=…".
var release, commit string

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// From the first signal on the next one has its usual effect: it ends the
	// process at once.
	context.AfterFunc(ctx, stop)
	version := cli.BuildVersion(release, commit)
	return cli.Main(ctx, cli.Env{
		Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv,
		Version: version, Serve: serve(version, os.Stderr), Isolate: isolate,
		Providers: app.Providers(), Clear: clearMachine,
	})
}

// isolate runs the program once more in a namespace of its own, if that is what
// an ordinary user needs for functions to be kept apart.
func isolate(environment map[string]string) (status int, ran bool) {
	for name, value := range environment {
		if err := os.Setenv(name, value); err != nil {
			return 0, false
		}
	}
	return app.Isolate()
}

// clearMachine removes what the platform has left on the machine outside its data.
func clearMachine(ctx context.Context, o cli.ServeOptions) error {
	return app.Clear(ctx, app.Options{Provider: o.Provider, Data: o.Data, Containers: app.ContainerOptions(o.Containers)})
}

// serve runs the platform as the command line wants it.
func serve(version cli.Version, log io.Writer) func(context.Context, cli.ServeOptions) error {
	return func(ctx context.Context, o cli.ServeOptions) error {
		// Calls allocate little, and what functions at rest take stays: half as
		// much garbage is worth more than the few collections it saves.
		if os.Getenv("GOGC") == "" {
			debug.SetGCPercent(50)
		}
		level := slog.LevelInfo
		if o.Quiet {
			level = slog.LevelWarn
		}
		var upgrades <-chan os.Signal
		if o.Upgradable {
			var stop func()
			ctx, upgrades, stop = onHangup(ctx)
			defer stop()
		}
		return app.Run(ctx, app.Options{
			Listen: o.Listen, MetricsListen: o.MetricsListen, Data: o.Data, Provider: o.Provider, NoAuth: o.NoAuth,
			TLSCert: o.TLSCert, TLSKey: o.TLSKey, Standby: o.Standby, Upgrade: upgrades, PrometheusURL: o.PrometheusURL,
			Queue: app.QueueOptions(o.Queue), Containers: app.ContainerOptions(o.Containers),
			Release: version.Release, Commit: version.SHA,
			Log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: level})),
			Ready: func(info app.Info) {
				if o.Ready != nil {
					o.Ready(cli.ServeInfo{
						URL: info.URL, MetricsURL: info.MetricsURL, User: info.User, Password: info.Password,
						FirstStart: info.FirstStart, DataDir: info.Data,
					})
				}
			},
		})
	}
}
