package install

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// ContainerdSocket is where the distributions' containerd listens.
const ContainerdSocket = "/run/containerd/containerd.sock"

// ContainerdAnswers reports whether a containerd listens at a socket.
func ContainerdAnswers(socket string) bool {
	conn, err := net.DialTimeout("unix", socket, time.Second)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

const aptContainerd = "on Debian and Ubuntu, apt install containerd"

// checkContainers looks whether this machine has what containers need.
func checkContainers(ctx context.Context, socket string) (wrong []error) {
	wrong = append(wrong, checkContainerd(ctx, socket))
	if _, err := exec.LookPath("runc"); err != nil {
		wrong = append(wrong, errors.New("runc is not installed, which runs containers: on Debian and Ubuntu, apt install runc"))
	}
	return append(wrong, checkNetwork())
}

func checkContainerd(ctx context.Context, socket string) error {
	if !ContainerdAnswers(socket) {
		if _, err := exec.LookPath("containerd"); err != nil {
			return errors.New("containerd is not installed: " + aptContainerd + "; or install with --provider process")
		}
		return fmt.Errorf("containerd does not listen at %s: run systemctl enable --now containerd, or install with --provider process", socket)
	}
	out, err := exec.CommandContext(ctx, "ctr", "--address", socket, "version").CombinedOutput()
	if err != nil {
		return fmt.Errorf("ctr version, to ask containerd for its version: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return checkVersion(string(out))
}

// serverVersion finds what ctr version says of the server.
var serverVersion = regexp.MustCompile(`(?s)Server:.*?Version:\s+v?((\d+)\.(\d+)\S*)`)

// checkVersion reads what ctr version wrote.
func checkVersion(text string) error {
	found := serverVersion.FindStringSubmatch(text)
	if found == nil {
		return fmt.Errorf("ctr version says nothing of containerd's version: %q", text)
	}
	major, _ := strconv.Atoi(found[2])
	minor, _ := strconv.Atoi(found[3])
	if major < 1 || major == 1 && minor < 6 {
		return fmt.Errorf("containerd is %s, and 1.6 is the oldest that will do: upgrade it, or install with --provider process", found[1])
	}
	return nil
}

// checkNetwork looks for the plugins that connect containers.
func checkNetwork() error {
	var lacking []string
	for _, name := range []string{"bridge", "host-local", "loopback"} {
		if !isThere(filepath.Join("/opt/cni/bin", name)) && !isThere(filepath.Join("/usr/lib/cni", name)) {
			lacking = append(lacking, name)
		}
	}
	if len(lacking) > 0 {
		return fmt.Errorf("neither /opt/cni/bin nor /usr/lib/cni has the CNI plugins %s, which connect containers: on Debian and Ubuntu, apt install containernetworking-plugins", strings.Join(lacking, ", "))
	}
	return nil
}

func isThere(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
