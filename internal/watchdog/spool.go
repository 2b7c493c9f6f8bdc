package watchdog

import (
	"bytes"
	"io"
	"os"
)

// spoolMemory is how much of a body or answer stays in memory; what is longer
// goes to a file.
const spoolMemory = 1 << 20

// spool holds bytes until they are read, in memory or in a file without a name.
type spool struct {
	dir    string
	memory bytes.Buffer
	file   *os.File
	size   int64
}

func (s *spool) Write(b []byte) (int, error) {
	if s.file == nil && s.memory.Len()+len(b) > spoolMemory {
		if err := s.spill(); err != nil {
			return 0, err
		}
	}
	var n int
	var err error
	if s.file != nil {
		n, err = s.file.Write(b)
	} else {
		n, err = s.memory.Write(b)
	}
	s.size += int64(n)
	return n, err
}

func (s *spool) spill() error {
	file, err := os.CreateTemp(s.dir, "lofn-spool-")
	if err != nil {
		return err
	}
	_ = os.Remove(file.Name())
	s.file = file
	_, err = file.Write(s.memory.Bytes())
	s.memory = bytes.Buffer{}
	return err
}

// reader returns the bytes from the first on, an *os.File if they are in one.
// Nothing may be written any more.
func (s *spool) reader() (io.Reader, error) {
	if s.file == nil {
		return bytes.NewReader(s.memory.Bytes()), nil
	}
	_, err := s.file.Seek(0, io.SeekStart)
	return s.file, err
}

// Close gives memory and disk back.
func (s *spool) Close() error {
	s.memory = bytes.Buffer{}
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}
