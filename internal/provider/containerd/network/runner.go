package network

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"
)

// runner starts plugins. Unlike the library's it ends the programs that a plugin
// has started along with it, and lets all of them inherit a lock.
type runner struct {
	version.PluginDecoder
	// lock may be nil.
	lock *os.File
}

// FindInPath implements invoke.Exec.
func (*runner) FindInPath(plugin string, dirs []string) (string, error) {
	return invoke.FindInPath(plugin, dirs)
}

// ExecPlugin implements invoke.Exec.
func (r *runner) ExecPlugin(ctx context.Context, path string, input []byte, environ []string) ([]byte, error) {
	var output, complaints bytes.Buffer
	cmd := exec.CommandContext(ctx, path)
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = environ, bytes.NewReader(input), &output, &complaints
	if r.lock != nil {
		cmd.ExtraFiles = []*os.File{r.lock}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		return nil, explain(filepath.Base(path), err, output.Bytes(), complaints.String())
	}
	return output.Bytes(), nil
}

// explain makes an error of what a plugin that failed has written.
func explain(plugin string, err error, output []byte, complaints string) error {
	var told types.Error
	if json.Unmarshal(output, &told) == nil && told.Msg != "" {
		return fmt.Errorf("CNI plugin %s: %w", plugin, &told)
	}
	if text := strings.TrimSpace(complaints); text != "" {
		return fmt.Errorf("CNI plugin %s: %w: %s", plugin, err, text)
	}
	return fmt.Errorf("CNI plugin %s: %w", plugin, err)
}
