package cli_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"lofn"
	"lofn/client/clienttest"
	"lofn/internal/cli"
)

// The test binary is also the lofn that scripts run. It cannot serve: these
// scripts are about the command line and a gateway in memory; those in
// cmd/lofn are about the platform.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"lofn": func() {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		defer stop()
		os.Exit(cli.Main(ctx, cli.Env{
			Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv,
			Version: cli.Version{Release: "v0.0.0-test", SHA: "5ca1ab1e"},
		}))
	}})
}

// TestScript runs every script in testdata/script with a gateway of its own,
// whose address is in OPENFAAS_URL.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			gateway := clienttest.NewGateway()
			env.Defer(gateway.Close)
			env.Values["gateway"] = gateway
			env.Setenv("OPENFAAS_URL", gateway.URL)
			env.Setenv("HOME", filepath.Join(env.WorkDir, "home"))
			env.Setenv("XDG_DATA_HOME", filepath.Join(env.WorkDir, "home", "data"))
			return os.MkdirAll(filepath.Join(env.WorkDir, "home"), 0o700)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"gateway": gatewayCommand},
	})
}

// gatewayCommand is the scripts' command to set up and inspect the gateway:
//
//	gateway require USER PASSWORD    the control API asks for credentials
//	gateway fail PATH STATUS TEXT    requests to a path fail
//	gateway mend                     they do no more
//	gateway replicas REASON          replicas deployed from now on fail
//	gateway starting REASON...       the next replica is starting, one reason a look
//	gateway log NAME TEXT...         a function writes lines
//	gateway followed                 waits until a log stream is followed
//	gateway cut                      ends the log streams, and waits until they have
//	gateway calls FILE               puts calls into the queue, a line of JSON each
//	gateway secret NAME FILE         checks a secret's value
//	gateway secret-is NAME TEXT      likewise
func gatewayCommand(ts *testscript.TestScript, neg bool, args []string) {
	gateway := ts.Value("gateway").(*clienttest.Gateway)
	if neg || len(args) == 0 {
		ts.Fatalf("usage: gateway COMMAND ARGUMENTS...")
	}
	command, args := args[0], append(args[1:], "", "", "")
	switch command {
	case "require":
		gateway.Require(args[0], args[1])
	case "fail":
		status, err := strconv.Atoi(args[1])
		ts.Check(err)
		gateway.Fail(args[0], status, args[2])
	case "mend":
		gateway.Fail("", http.StatusOK, "")
	case "replicas":
		gateway.FailReplicas(args[0])
	case "starting":
		gateway.Start(slices.DeleteFunc(args, func(reason string) bool { return reason == "" })...)
	case "log":
		writeLog(gateway, args)
	case "followed":
		ts.Check(eventually(func() bool { return gateway.Followers() > 0 }))
	case "cut":
		gateway.CutLogs()
		ts.Check(eventually(func() bool { return gateway.Followers() == 0 }))
	case "calls":
		ts.Check(putCalls(gateway, ts.ReadFile(args[0])))
	case "secret":
		got, ok := gateway.Secret(lofn.DefaultNamespace, args[0])
		if want := ts.ReadFile(args[1]); !ok || string(got) != want {
			ts.Fatalf("secret %s: got %q, want %q", args[0], got, want)
		}
	case "secret-is":
		if got, _ := gateway.Secret(lofn.DefaultNamespace, args[0]); string(got) != args[1] {
			ts.Fatalf("secret %s: got %q, want %q", args[0], got, args[1])
		}
	default:
		ts.Fatalf("gateway %s: there is no such command", command)
	}
}

// writeLog writes lines whose times are one second apart.
func writeLog(gateway *clienttest.Gateway, args []string) {
	for i, text := range args[1:] {
		if text == "" {
			continue
		}
		gateway.Log(lofn.LogMessage{
			Name: args[0], Namespace: lofn.DefaultNamespace, Instance: args[0] + "-" + strconv.Itoa(i%2+1), Text: text,
			Timestamp: time.Date(2026, 1, 31, 12, 0, i, 0, time.UTC),
		})
	}
}

// putCalls puts calls into the queue whose lines may have their answer too.
func putCalls(gateway *clienttest.Gateway, lines string) error {
	for line := range strings.Lines(lines) {
		var call struct {
			lofn.CallDetail
			Answer string `json:"answer"`
		}
		if err := json.Unmarshal([]byte(line), &call); err != nil {
			return err
		}
		gateway.PutCall(call.CallDetail, call.Answer)
	}
	return nil
}

func eventually(condition func() bool) error {
	for deadline := time.Now().Add(30 * time.Second); !condition(); {
		if time.Now().After(deadline) {
			return errors.New("it did not happen within 30 s")
		}
		<-time.After(5 * time.Millisecond)
	}
	return nil
}

// Every command explains itself, and each flag in it.
func TestHelp(t *testing.T) {
	var out strings.Builder
	run := func(args ...string) string {
		out.Reset()
		code := cli.Main(t.Context(), cli.Env{
			Args: args, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out, Getenv: func(string) string { return "" },
		})
		if code != 0 {
			t.Errorf("%q: exit code %d: %s", args, code, out.String())
		}
		return out.String()
	}
	help := run("--help")
	_, list, _ := strings.Cut(help, "Available Commands:\n")
	list, _, _ = strings.Cut(list, "\n\nFlags:")
	for line := range strings.Lines(list) {
		name := strings.Fields(line)[0]
		text := run(name, "--help")
		if !strings.Contains(text, "lofn "+name) {
			t.Errorf("%s --help: %s", name, text)
		}
	}
}
