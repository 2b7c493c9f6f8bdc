package fleet

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Socket is a TCP socket on which somebody listens.
type Socket struct {
	// Address is as the kernel writes it: 8 or 32 hexadecimal digits, in the
	// machine's order of bytes.
	Address string
	Port    uint16
	// Inode is the number by which links in /proc/PID/fd name it.
	Inode string
}

// stateListen is TCP_LISTEN in the kernel's tables (include/net/tcp_states.h).
const stateListen = "0A"

// Listening returns the sockets in a network's tables, as far as they can be
// read: /proc/net, or /proc/PID/net for the network of a process.
func Listening(dir string) (all []Socket) {
	for _, table := range []string{"tcp", "tcp6"} {
		text, _ := os.ReadFile(filepath.Join(dir, table))
		for line := range strings.Lines(string(text)) {
			fields := strings.Fields(line)
			if len(fields) < 10 || fields[3] != stateListen {
				continue
			}
			address, port, _ := strings.Cut(fields[1], ":")
			n, _ := strconv.ParseUint(port, 16, 16)
			all = append(all, Socket{Address: address, Port: uint16(n), Inode: fields[9]})
		}
	}
	return all
}
