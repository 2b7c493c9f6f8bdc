package function

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
)

// A class of characters in a sequence line.
const (
	illegal   = iota
	strong    // G C
	weak      // A T U
	unknown   // N .
	ambiguous // the other IUPAC codes, and gaps
	classes
)

func classOf(c byte) int {
	switch c | 0x20 {
	case 'g', 'c':
		return strong
	case 'a', 't', 'u':
		return weak
	case 'n':
		return unknown
	case 'r', 'y', 's', 'w', 'k', 'm', 'b', 'd', 'h', 'v', 'x':
		return ambiguous
	}
	switch c {
	case '.':
		return unknown
	case '-', '*':
		return ambiguous
	}
	return illegal
}

// nameLength is how much of a read's name an error quotes.
const nameLength = 60

// Read adds all reads of a FASTQ text with four lines for each record. Lines
// end in LF or CRLF; blank lines are allowed after the last record only. An
// error names the record and line, both counted from 1.
func (s *Stats) Read(ctx context.Context, text io.Reader) error {
	p := parser{lines: bufio.NewReaderSize(text, 64<<10), stats: s}
	for class := range p.classOf {
		p.classOf[class] = uint8(classOf(byte(class)))
	}
	for {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("gave up after record %d: %w", p.record, err)
		}
		if err := p.readRecord(); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// parser handles lines in pieces as they come out of its buffer, so that
// memory does not grow with the length of a read.
type parser struct {
	lines        *bufio.Reader
	stats        *Stats
	classOf      [256]uint8
	record, line uint64
	name         []byte
}

// readRecord returns io.EOF where no record starts.
func (p *parser) readRecord() error {
	p.record++
	p.name = p.name[:0]
	if err := p.readName(); err != nil {
		return err
	}
	bases, err := p.readSequence()
	if err != nil {
		return err
	}
	if err := p.readSeparator(); err != nil {
		return err
	}
	if err := p.readQualities(bases); err != nil {
		return err
	}
	p.stats.addRead(bases)
	return nil
}

func (p *parser) readName() error {
	first := true
	length, err := p.readLine(func(piece []byte, _ uint64) error {
		if first && piece[0] != '@' {
			return p.errorf("a record starts with '@', not with %q", piece[0])
		}
		first = false
		if room := nameLength - len(p.name); room > 0 {
			p.name = append(p.name, piece[:min(room, len(piece))]...)
		}
		return nil
	})
	if err != nil || length > 0 {
		return err
	}
	return p.onlyBlankLines()
}

// onlyBlankLines returns io.EOF if nothing but line ends follows.
func (p *parser) onlyBlankLines() error {
	blank := p.line
	for {
		length, err := p.readLine(func([]byte, uint64) error { return nil })
		if err != nil {
			return err
		}
		if length > 0 {
			p.line = blank
			return p.errorf("the line is empty, and more lines follow")
		}
	}
}

func (p *parser) readSequence() (uint64, error) {
	bases, err := p.readLine(func(piece []byte, column uint64) error {
		for i, c := range piece {
			class := p.classOf[c]
			if class == illegal {
				return p.errorf("column %d: %q is not a base", column+uint64(i), c)
			}
			p.stats.classes[class]++
		}
		return nil
	})
	return bases, p.mustGoOn(err, "the sequence")
}

func (p *parser) readSeparator() error {
	first := true
	length, err := p.readLine(func(piece []byte, _ uint64) error {
		if first && piece[0] != '+' {
			return p.errorf("the third line of a record starts with '+', not with %q: sequences over several lines are not supported", piece[0])
		}
		first = false
		return nil
	})
	if err == nil && length == 0 {
		return p.errorf("the third line of a record starts with '+', this one is empty")
	}
	return p.mustGoOn(err, "the '+' line")
}

func (p *parser) readQualities(bases uint64) error {
	length, err := p.readLine(func(piece []byte, column uint64) error {
		for i, c := range piece {
			if c < phredOffset || c > '~' {
				return p.errorf("column %d: %q is not a quality, which are '!' to '~'", column+uint64(i), c)
			}
			p.stats.qualities[c-phredOffset]++
		}
		return nil
	})
	// A read without bases may be the last thing in a file, without an end of
	// its empty quality line.
	if err == io.EOF && bases == 0 {
		return nil
	}
	if err == nil && length != bases {
		return p.errorf("%d qualities for %d bases", length, bases)
	}
	return p.mustGoOn(err, "the qualities")
}

// readLine passes the next line without its end to add, in one or more pieces
// that are never empty, each with the column of its first byte. It returns the
// line's length, and io.EOF where the text had ended before.
func (p *parser) readLine(add func(piece []byte, column uint64) error) (uint64, error) {
	p.line++
	var length uint64
	for {
		piece, err := p.lines.ReadSlice('\n')
		if err != nil && err != io.EOF && err != bufio.ErrBufferFull {
			return length, p.unreadable(err)
		}
		if err == io.EOF && len(piece) == 0 && length == 0 {
			return 0, io.EOF
		}
		piece = bytes.TrimSuffix(piece, []byte("\n"))
		// A carriage return at the end of a full buffer belongs to the next
		// piece, which shows whether it is part of a line's end.
		if err == bufio.ErrBufferFull && piece[len(piece)-1] == '\r' {
			piece = piece[:len(piece)-1]
			if err := p.lines.UnreadByte(); err != nil {
				return length, err
			}
		} else if err != bufio.ErrBufferFull {
			piece = bytes.TrimSuffix(piece, []byte("\r"))
		}
		if len(piece) > 0 {
			if err := add(piece, length+1); err != nil {
				return length, err
			}
		}
		length += uint64(len(piece))
		if err != bufio.ErrBufferFull {
			return length, nil
		}
	}
}

// mustGoOn turns the end of the text in the middle of a record into an error.
func (p *parser) mustGoOn(err error, missing string) error {
	if err == io.EOF {
		return p.errorf("the file ends before %s", missing)
	}
	return err
}

func (p *parser) unreadable(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return p.errorf("the file is cut off")
	}
	return p.errorf("the file cannot be read on: %w", err)
}

func (p *parser) errorf(format string, args ...any) error {
	name := ""
	if len(p.name) > 0 {
		name = fmt.Sprintf(" (%q)", p.name)
	}
	return fmt.Errorf("record %d%s, line %d: %w", p.record, name, p.line, fmt.Errorf(format, args...))
}
