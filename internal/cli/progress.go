package cli

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"time"
)

// board shows work on several functions at once: on a terminal one line for
// each, redrawn in place; elsewhere every line as it comes, with the name of
// its function. Its methods are safe for concurrent use.
type board struct {
	p     *program
	quiet bool
	// live says that there is a terminal to redraw.
	live bool
	stop chan struct{}
	done chan struct{}

	mu     sync.Mutex
	tasks  []*task
	canvas canvas
}

// task is the work on one function. As a writer it takes what the tools print.
type task struct {
	board *board
	name  string
	start time.Time
	// last are the lines to show if the work fails, partial what has no end
	// of line yet. transient, if not "", is what the next line replaces.
	last      []string
	partial   []byte
	transient string
	// shown is when show last printed a line.
	shown time.Time
}

// redraw is how often a live board is drawn.
const redraw = 100 * time.Millisecond

// newBoard returns a board; the caller closes it.
func (p *program) newBoard(quiet bool) *board {
	b := &board{p: p, quiet: quiet, live: !quiet && p.canDraw(p.Stderr), canvas: canvas{p: p, w: p.Stderr}}
	if b.live {
		b.stop, b.done = make(chan struct{}), make(chan struct{})
		go b.animate()
	}
	return b
}

func (b *board) animate() {
	defer close(b.done)
	ticker := time.NewTicker(redraw)
	defer ticker.Stop()
	for {
		select {
		case <-b.stop:
			return
		case <-ticker.C:
			b.mu.Lock()
			b.draw()
			b.mu.Unlock()
		}
	}
}

// close ends the drawing.
func (b *board) close() {
	if !b.live {
		return
	}
	close(b.stop)
	<-b.done
	b.mu.Lock()
	b.canvas.erase()
	b.mu.Unlock()
}

func (b *board) draw() {
	if !b.live {
		return
	}
	lines := make([]string, len(b.tasks))
	for i, t := range b.tasks {
		doing := t.transient
		if doing == "" && len(t.last) > 0 {
			doing = t.last[len(t.last)-1]
		}
		lines[i] = fmt.Sprintf("%6.1fs %s  %s", time.Since(t.start).Seconds(), t.name, doing)
	}
	b.canvas.draw(lines)
}

// begin adds a task.
func (b *board) begin(name string) *task {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := &task{board: b, name: name, start: time.Now()}
	b.tasks = append(b.tasks, t)
	return t
}

// keptLines is how much of a failed task's output is shown.
const keptLines = 40

// Write takes lines that a tool prints, in whatever pieces. What ends in a
// carriage return alone is how far something has come: it is worth showing only
// where the next one can take its place.
func (t *task) Write(data []byte) (int, error) {
	b := t.board
	b.mu.Lock()
	defer b.mu.Unlock()
	t.partial = append(t.partial, data...)
	for {
		i := bytes.IndexByte(t.partial, '\n')
		if i < 0 {
			t.passing()
			return len(data), nil
		}
		text := strings.TrimRight(string(t.partial[:i]), "\r")
		t.line(text[strings.LastIndexByte(text, '\r')+1:])
		t.partial = t.partial[i+1:]
	}
}

// passing takes what is out of date with the next line. The caller holds the
// board's lock.
func (t *task) passing() {
	if text, whole := bytes.CutSuffix(t.partial, []byte("\r")); whole {
		t.transient = string(text[bytes.LastIndexByte(text, '\r')+1:])
		t.partial = nil
	}
}

// line shows or keeps one line. The caller holds the board's lock.
func (t *task) line(text string) {
	t.transient = ""
	t.last = append(t.last, text)
	if len(t.last) > keptLines {
		t.last = t.last[1:]
	}
	if !t.board.live && !t.board.quiet {
		t.board.p.notef("%s | %s\n", t.name, text)
	}
}

// show says how far the work is. Without a terminal it says so only now and then.
func (t *task) show(doing string) {
	b := t.board
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.live && time.Since(t.shown) < seldom {
		return
	}
	t.shown = time.Now()
	t.line(doing)
}

// end takes the task off the board and prints its result.
func (t *task) end(format string, args ...any) {
	t.leave(func(p *program) { p.outf(format+"\n", args...) })
}

// fail takes the task off the board and prints what was not shown so far, and
// the error.
func (t *task) fail(what string, err error) {
	t.leave(func(p *program) {
		if t.board.live || t.board.quiet {
			for _, line := range t.last {
				p.notef("%s | %s\n", t.name, line)
			}
			if len(t.partial) > 0 {
				p.notef("%s | %s\n", t.name, t.partial)
			}
		}
		text := strings.TrimPrefix(err.Error(), fmt.Sprintf("function %q: ", t.name))
		p.notef("%s: %s: %s\n", t.name, what, text)
	})
}

func (t *task) leave(print func(*program)) {
	b := t.board
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.tasks {
		if b.tasks[i] == t {
			b.tasks = append(b.tasks[:i], b.tasks[i+1:]...)
			break
		}
	}
	b.between(print)
}

// note prints a line of its own.
func (b *board) note(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.between(func(p *program) { p.notef(format+"\n", args...) })
}

// between prints above the board's lines. The caller holds the board's lock.
func (b *board) between(print func(*program)) {
	b.canvas.erase()
	print(b.p)
	b.draw()
}

func (t *task) elapsed() string { return fmt.Sprintf("%.2fs", time.Since(t.start).Seconds()) }
