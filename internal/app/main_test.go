package app_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"lofn"
	"lofn/internal/app"
)

// roleVariable says what this test binary is when a test starts it again: a
// platform that can be killed, or a function.
const roleVariable = "LOFN_TEST_ROLE"

// prometheusVariable is the address of the Prometheus that a platform asks.
const prometheusVariable = "LOFN_TEST_PROMETHEUS"

// natsVariable is the URL of the NATS server that keeps a platform's queue.
const natsVariable = "LOFN_TEST_NATS"

// drainVariable is how long calls may take to end when a platform is stopped.
const drainVariable = "LOFN_TEST_DRAIN"

// neverReady as the time zone of a platform, which functions get too, keeps
// them from listening.
const neverReady = "Never/Ready"

func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case "platform":
		runPlatform()
	case "function":
		runFunction()
	default:
		os.Exit(m.Run())
	}
}

// started is what a platform prints when it serves.
type started struct {
	app.Info
	PID int
}

// runPlatform serves on free ports with the data folder that the first
// argument names, prints what it started as a line of JSON, upgrades on SIGHUP
// and ends on SIGTERM.
func runPlatform() {
	if status, ran := app.Isolate(); ran {
		os.Exit(status)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	upgrade := make(chan os.Signal, 1)
	signal.Notify(upgrade, syscall.SIGHUP)
	drain, _ := time.ParseDuration(os.Getenv(drainVariable))
	run := app.Run
	if dir := os.Getenv(containersVariable); dir != "" {
		gateway, _ := netip.ParseAddr(os.Getenv(innerVariable))
		run = func(ctx context.Context, o app.Options) error {
			o.Provider = app.ProviderContainerd
			return app.RunWith(ctx, o, openDetached(dir, gateway))
		}
	}
	err := run(ctx, app.Options{
		DrainTime: drain,
		Listen:    "127.0.0.1:0", MetricsListen: "127.0.0.1:0", Data: os.Args[1], Provider: "process",
		PrometheusURL: os.Getenv(prometheusVariable),
		Queue:         app.QueueOptions{URL: os.Getenv(natsVariable), Limits: lofn.DefaultQueueLimits},
		Release:       "test", Commit: "test", Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		Ready:   func(info app.Info) { _ = json.NewEncoder(os.Stdout).Encode(started{info, os.Getpid()}) },
		Upgrade: upgrade,
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// runFunction answers with its variable "answer" and the secret that the path
// names, if any. Under /visit the answer is that of the URL in the query.
func runFunction() {
	if os.Getenv("TZ") == neverReady {
		select {}
	}
	l, err := net.Listen("unix", os.Getenv(lofn.EnvSocket))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("function listens")
	server := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if name, ok := strings.CutPrefix(r.URL.Path, "/secret/"); ok {
			value, err := os.ReadFile(lofn.SecretsPath + "/" + name)
			if err != nil {
				http.Error(w, err.Error(), http.StatusNotFound)
				return
			}
			_, _ = w.Write(value)
			return
		}
		if r.URL.Path == "/visit" {
			visit(w, r)
			return
		}
		if err := http.NewResponseController(w).EnableFullDuplex(); err == nil && r.URL.Path == "/begun" {
			// The caller knows that the call has begun before it ends it.
			_, _ = io.WriteString(w, "begun,")
			_ = http.NewResponseController(w).Flush()
		}
		body, _ := io.ReadAll(r.Body)
		if r.URL.Path == "/logged" {
			fmt.Println("called with", string(body))
		}
		fmt.Fprintf(w, "%s%s", os.Getenv("answer"), body)
	})}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	go func() {
		<-ctx.Done()
		_ = server.Shutdown(context.Background())
	}()
	_ = server.Serve(l)
	os.Exit(0)
}

// visit answers as the URL in the query does.
func visit(w http.ResponseWriter, r *http.Request) {
	there, err := http.NewRequestWithContext(r.Context(), http.MethodPost, r.URL.Query().Get("url"), r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	there.Header = r.Header
	resp, err := http.DefaultClient.Do(there)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(w, resp.Body)
}
