package registry

import (
	"os"

	"golang.org/x/sys/unix"
)

// syncTree writes a folder and all in it to disk: one call for the whole file
// system is far cheaper than one for each file of an image.
func syncTree(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return os.NewSyscallError("syncfs", unix.Syncfs(int(d.Fd())))
}
