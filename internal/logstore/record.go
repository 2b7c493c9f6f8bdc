package logstore

import (
	"bufio"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
)

// magic begins every segment.
const magic = "lofnlog1"

const (
	// maxInline is the longest text that is part of a record, in bytes.
	maxInline = 64 << 10
	// maxInstance is the longest name of a replica, in bytes.
	maxInstance = 1 << 10
)

// kind says what the text of a record is.
type kind uint8

const (
	// inline text is the line.
	inline kind = iota
	// aside text is the length, 8 bytes, of the line, which is in a file.
	aside
)

// record is one line. In a file it is, in little-endian order:
//
//	 0  4  CRC-32C of all that follows
//	 4  4  length of instance and text together
//	 8  8  time, nanoseconds since 1970
//	16  8  number
//	24  2  length of instance
//	26  1  kind
//	27  1  zero
//	28     instance, text
type record struct {
	number   uint64 // of the line among all of its function, from 1
	time     int64
	kind     kind
	instance string
	text     []byte
}

const headerSize = 28

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// appendRecord encodes r at the end of b.
func appendRecord(b []byte, r record) []byte {
	start := len(b)
	b = append(b, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(r.instance)+len(r.text)))
	b = binary.LittleEndian.AppendUint64(b, uint64(r.time))
	b = binary.LittleEndian.AppendUint64(b, r.number)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(r.instance)))
	b = append(b, byte(r.kind), 0)
	b = append(b, r.instance...)
	b = append(b, r.text...)
	binary.LittleEndian.PutUint32(b[start:], crc32.Checksum(b[start+4:], castagnoli()))
	return b
}

// errDamaged says that there is no record where one should be.
var errDamaged = errors.New("damaged record")

// readRecord reads a record and returns its length in the file. Its text is
// valid until the next call with the same buffer. The error is errDamaged,
// io.ErrUnexpectedEOF if the file ends within it, io.EOF if it ends before, or
// the reader's.
func readRecord(from *bufio.Reader, buf []byte) (record, int64, []byte, error) {
	buf = grow(buf, headerSize)
	if _, err := io.ReadFull(from, buf); err != nil {
		return record{}, 0, buf, err
	}
	length := int(binary.LittleEndian.Uint32(buf[4:]))
	instance := int(binary.LittleEndian.Uint16(buf[24:]))
	if length > maxInline+maxInstance || instance > length || instance > maxInstance || buf[27] != 0 || buf[26] > byte(aside) {
		return record{}, 0, buf, errDamaged
	}
	buf = grow(buf, headerSize+length)
	if _, err := io.ReadFull(from, buf[headerSize:]); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return record{}, 0, buf, err
	}
	if binary.LittleEndian.Uint32(buf) != crc32.Checksum(buf[4:], castagnoli()) {
		return record{}, 0, buf, errDamaged
	}
	r := record{
		time:     int64(binary.LittleEndian.Uint64(buf[8:])),
		number:   binary.LittleEndian.Uint64(buf[16:]),
		kind:     kind(buf[26]),
		instance: string(buf[headerSize : headerSize+instance]),
		text:     buf[headerSize+instance:],
	}
	if r.kind == aside && len(r.text) != 8 {
		return record{}, 0, buf, errDamaged
	}
	return r, int64(len(buf)), buf, nil
}

// grow returns b with length n, keeping what fits.
func grow(b []byte, n int) []byte {
	if cap(b) >= n {
		return b[:n]
	}
	bigger := make([]byte, n, max(n, 4<<10))
	copy(bigger, b)
	return bigger
}

// length is that of a line which is aside.
func (r record) length() int64 { return int64(binary.LittleEndian.Uint64(r.text)) }
