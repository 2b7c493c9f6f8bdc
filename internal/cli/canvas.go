package cli

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// canvas is lines at the end of a terminal that are drawn again and again in the
// same place.
type canvas struct {
	p *program
	w io.Writer
	// drawn is how many lines of the terminal are the canvas's.
	drawn int
}

// canDraw reports whether a stream is a terminal on which lines can be replaced.
func (p *program) canDraw(stream io.Writer) bool {
	return isTerminal(stream) && p.Getenv("TERM") != "dumb"
}

// erase takes the lines off the terminal.
func (c *canvas) erase() { c.p.writef(c.w, "%s", c.back()) }

// draw puts lines in the place of those that are there, each cut to the width of
// the terminal.
func (c *canvas) draw(lines []string) {
	// One write for all: a terminal that shows the state in between flickers.
	var text strings.Builder
	text.WriteString(c.back())
	width, _ := terminalSize(c.w)
	for _, line := range lines {
		text.WriteString(clip(line, width-1))
		text.WriteByte('\n')
	}
	c.p.writef(c.w, "%s", text.String())
	c.drawn = len(lines)
}

// back moves the cursor to where the canvas began, and clears what is there.
func (c *canvas) back() string {
	if c.drawn == 0 {
		return ""
	}
	text := fmt.Sprintf("\x1b[%dA\r\x1b[J", c.drawn)
	c.drawn = 0
	return text
}

// terminalSize is 80 by 24 where the terminal does not say, or is hardly one.
func terminalSize(w io.Writer) (width, height int) {
	width, height = 80, 24
	if file, ok := w.(*os.File); ok {
		if columns, rows, err := term.GetSize(int(file.Fd())); err == nil && columns > 10 && rows > 0 {
			return columns, rows
		}
	}
	return width, height
}

// clip shortens a line to what fits, and takes out what would move the cursor.
func clip(line string, width int) string {
	line = strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, line)
	if runes := []rune(line); len(runes) > width {
		return string(runes[:width-1]) + "…"
	}
	return line
}
