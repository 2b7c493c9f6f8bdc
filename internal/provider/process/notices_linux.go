package process

import (
	"bytes"
	"encoding/binary"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// notices tells of files that appear in folders, as the kernel does. A nil one
// tells of none.
type notices struct {
	file *os.File
	// fd is that of file, for as long as it is open.
	fd int

	mu     sync.Mutex
	wanted map[int32]notice // by the kernel's number for the folder
}

type notice struct {
	name     string
	appeared chan struct{}
}

// newNotices returns nil with an error where the kernel has no more of them to
// give.
func newNotices() (*notices, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, err
	}
	n := &notices{file: os.NewFile(uintptr(fd), "inotify"), fd: fd, wanted: make(map[int32]notice)}
	go n.run()
	return n, nil
}

// want returns a channel that is closed when a file of the name has appeared
// in the folder, from now on, and what ends the wait. The channel is nil where
// the kernel will not tell.
func (n *notices) want(folder, name string) (appeared <-chan struct{}, enough func()) {
	if n == nil {
		return nil, func() {}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	at, err := unix.InotifyAddWatch(n.fd, folder, unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_ONLYDIR)
	if err != nil {
		return nil, func() {}
	}
	number := int32(at)
	wanted := notice{name, make(chan struct{})}
	n.wanted[number] = wanted
	return wanted.appeared, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.wanted, number)
		// It fails for a folder that is gone.
		_, _ = unix.InotifyRmWatch(n.fd, uint32(number))
	}
}

// run passes on what the kernel tells until the file is closed.
func (n *notices) run() {
	var buffer [4096]byte
	for {
		length, err := n.file.Read(buffer[:])
		if err != nil {
			return
		}
		n.mu.Lock()
		for events := buffer[:length]; len(events) >= unix.SizeofInotifyEvent; {
			events = n.pass(events)
		}
		n.mu.Unlock()
	}
}

// pass reads one event (inotify(7)) and returns those after it.
func (n *notices) pass(events []byte) []byte {
	number := int32(binary.NativeEndian.Uint32(events))
	mask := binary.NativeEndian.Uint32(events[4:])
	end := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(events[12:]))
	name, _, _ := bytes.Cut(events[unix.SizeofInotifyEvent:end], []byte{0})
	for at, wanted := range n.wanted {
		// Where the kernel dropped events, all may have appeared.
		if at == number && wanted.name == string(name) || mask&unix.IN_Q_OVERFLOW != 0 {
			close(wanted.appeared)
			delete(n.wanted, at)
		}
	}
	return events[end:]
}

func (n *notices) close() error {
	if n == nil {
		return nil
	}
	return n.file.Close()
}
