package simulate

import (
	"cmp"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"lofn"
)

// file is a trace on the disk.
type file struct {
	path      string
	functions []Function
	places    map[lofn.Ref]int
	start     time.Time
	length    time.Duration
}

// OpenFile reads a trace in CSV: a head that names the columns arrival, function
// and duration, and perhaps memory, and a line for each call, in the order in
// which they came. It reads all of the file once, and calls again as they are
// needed, so that a mistake is found before anything is simulated. With sort the
// lines may be in any order, and all are held in memory.
//
// Errors name file, line and column, and what would be right.
func OpenFile(path string, sort bool) (Trace, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, lofn.Errorf(lofn.NotFound, "trace: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, lofn.Errorf(lofn.Invalid, "trace: %s is not a file: a trace is read twice, so it cannot come through a pipe", path)
	}
	f := &file{path: path, places: make(map[lofn.Ref]int)}
	var all []Call
	err = f.scan(func(call Call, rows *rows) error {
		if sort {
			all = append(all, call)
			return nil
		}
		if call.At < f.length {
			return rows.fail(rows.arrival, "comes before the call of the line before: sort the lines by arrival, or give --sort")
		}
		f.length = call.At
		return nil
	})
	if err != nil || !sort {
		return f, err
	}
	return f.sorted(all), nil
}

// scan goes through all lines and learns which functions there are.
func (f *file) scan(each func(Call, *rows) error) error {
	rows, err := openRows(f.path)
	if err != nil {
		return err
	}
	defer rows.Close()
	for calls := 0; ; calls++ {
		row, err := rows.next()
		if errors.Is(err, io.EOF) && calls == 0 {
			return lofn.Errorf(lofn.Invalid, "%s: has no calls: give a line for each below the head, such as 0.25,hello,0.1", f.path)
		}
		if errors.Is(err, io.EOF) {
			f.start = rows.start
			return nil
		}
		if err == nil {
			err = each(Call{At: row.at, Function: f.place(row), Duration: row.duration}, rows)
		}
		if err != nil {
			return err
		}
	}
}

// place is where the row's function is among all, at the end if it is new. Of
// different amounts of memory the largest counts.
func (f *file) place(r row) int {
	i, known := f.places[r.function]
	if !known {
		i = len(f.functions)
		f.places[r.function] = i
		f.functions = append(f.functions, Function{Ref: r.function})
	}
	f.functions[i].Memory = max(f.functions[i].Memory, r.memory)
	return i
}

// sorted is the trace with its calls in order.
func (f *file) sorted(calls []Call) Trace {
	slices.SortStableFunc(calls, func(a, b Call) int { return cmp.Compare(a.At, b.At) })
	r := &Recorded{Of: f.functions, Calls: calls, Began: f.start}
	if f.start.IsZero() {
		return r
	}
	// The first line's time was only a guess at the first call's.
	first := calls[0].At
	r.Began = f.start.Add(first)
	for i := range calls {
		calls[i].At -= first
	}
	return r
}

// Functions implements Trace.
func (f *file) Functions() []Function { return f.functions }

// Start implements Trace.
func (f *file) Start() time.Time { return f.start }

// Length implements Trace.
func (f *file) Length() time.Duration { return f.length }

// Open implements Trace.
func (f *file) Open() (Calls, error) {
	rows, err := openRows(f.path)
	if err != nil {
		return nil, err
	}
	return &reading{rows, f.places}, nil
}

// reading is a file that is read again.
type reading struct {
	*rows
	places map[lofn.Ref]int
}

// Next implements Calls.
func (r *reading) Next() (Call, error) {
	row, err := r.next()
	if err != nil {
		return Call{}, err
	}
	place, known := r.places[row.function]
	if !known {
		return Call{}, r.fail(r.function, "was not there a moment ago: do not change the file while it is read")
	}
	return Call{At: row.at, Function: place, Duration: row.duration}, nil
}

// rows reads the lines of a file.
type rows struct {
	path string
	file *os.File
	csv  *csv.Reader
	// arrival, function, duration and memory are the columns, memory -1 if there
	// is none.
	arrival, function, duration, memory int
	// start is the first arrival, if arrivals are times of day.
	start time.Time
	read  int
	// refs keeps the functions' names, which come again and again.
	refs map[string]lofn.Ref
}

// row is a line.
type row struct {
	at, duration time.Duration
	function     lofn.Ref
	memory       int64
}

func openRows(path string) (*rows, error) {
	opened, err := os.Open(path)
	if err != nil {
		return nil, lofn.Errorf(lofn.NotFound, "trace: %w", err)
	}
	r := &rows{path: path, file: opened, csv: csv.NewReader(opened), refs: make(map[string]lofn.Ref)}
	r.csv.ReuseRecord, r.csv.TrimLeadingSpace = true, true
	if err := r.head(); err != nil {
		opened.Close()
		return nil, err
	}
	return r, nil
}

func (r *rows) Close() error { return r.file.Close() }

// head finds the columns.
func (r *rows) head() error {
	names, err := r.csv.Read()
	if errors.Is(err, io.EOF) {
		return lofn.Errorf(lofn.Invalid, "%s: is empty: begin with the head arrival,function,duration", r.path)
	}
	if err != nil {
		return r.malformed(err)
	}
	columns := map[string]*int{"arrival": &r.arrival, "function": &r.function, "duration": &r.duration, "memory": &r.memory}
	for _, column := range columns {
		*column = -1
	}
	for i, text := range names {
		// Spreadsheets write a mark of the byte order at the beginning.
		column := columns[strings.ToLower(strings.TrimSpace(strings.TrimPrefix(text, "\ufeff")))]
		if column == nil || *column >= 0 {
			return r.fail(i, fmt.Sprintf("%q is not a column: the head has arrival, function and duration, and perhaps memory, each once", text))
		}
		*column = i
	}
	if r.arrival < 0 || r.function < 0 || r.duration < 0 {
		return r.fail(0, "the head must name the columns arrival, function and duration")
	}
	return nil
}

// next reads a line, and ends with io.EOF.
func (r *rows) next() (row, error) {
	record, err := r.csv.Read()
	if errors.Is(err, io.EOF) {
		return row{}, io.EOF
	}
	if err != nil {
		return row{}, r.malformed(err)
	}
	r.read++
	var line row
	if line.at, err = r.when(record[r.arrival]); err != nil {
		return row{}, err
	}
	if line.function, err = r.whom(record[r.function]); err != nil {
		return row{}, err
	}
	var ok bool
	if line.duration, ok = duration(record[r.duration]); !ok {
		return row{}, r.fail(r.duration, fmt.Sprintf("duration: %q is not a duration: use seconds, such as 0.25, or a number with a unit, such as 250ms", record[r.duration]))
	}
	if r.memory >= 0 && record[r.memory] != "" {
		if line.memory, err = (&lofn.Resources{Memory: record[r.memory]}).MemoryBytes(); err != nil {
			return row{}, r.fail(r.memory, err.Error())
		}
	}
	return line, nil
}

// when reads an arrival. The first one decides in which form all are.
func (r *rows) when(text string) (time.Duration, error) {
	if r.read == 1 {
		r.start, _ = time.Parse(time.RFC3339, text)
	}
	if !r.start.IsZero() {
		t, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return 0, r.fail(r.arrival, fmt.Sprintf("arrival: %q is not a time like that of the first call: use RFC 3339, such as 2026-03-02T09:15:00.25Z", text))
		}
		at := t.Sub(r.start)
		if at.Abs() >= longest/2 {
			return 0, r.fail(r.arrival, fmt.Sprintf("arrival: %s is years away from the first call: the trace is too long", text))
		}
		return at, nil
	}
	s, err := strconv.ParseFloat(text, 64)
	if err != nil || !(s >= 0 && s < longest.Seconds()) {
		return 0, r.fail(r.arrival, fmt.Sprintf("arrival: %q is not a time: use seconds since the start, such as 12.5, or RFC 3339, such as 2026-03-02T09:15:00.25Z", text))
	}
	return seconds(s), nil
}

func (r *rows) whom(text string) (lofn.Ref, error) {
	if ref, known := r.refs[text]; known {
		return ref, nil
	}
	ref := lofn.ParseHost(text)
	if ref.Name == "" || ref.Namespace == "" {
		return ref, r.fail(r.function, fmt.Sprintf("function: %q is not a name: use that of a function, such as hello or hello.dev", text))
	}
	r.refs[strings.Clone(text)] = ref
	return ref, nil
}

// duration reads seconds or a duration with a unit.
func duration(text string) (time.Duration, bool) {
	if s, err := strconv.ParseFloat(text, 64); err == nil {
		return seconds(s), s >= 0 && !math.IsInf(s, 1)
	}
	d, err := time.ParseDuration(text)
	return d, err == nil && d >= 0
}

// fail is an error about a field of the line that was read last.
func (r *rows) fail(column int, text string) error {
	line, at := r.csv.FieldPos(column)
	return lofn.Errorf(lofn.Invalid, "%s:%d:%d: %s", r.path, line, at, text)
}

// malformed is an error about a line that could not be read.
func (r *rows) malformed(err error) error {
	problem, ok := errors.AsType[*csv.ParseError](err)
	if !ok {
		return lofn.Errorf(lofn.Internal, "%s: %w", r.path, err)
	}
	if errors.Is(err, csv.ErrFieldCount) {
		return lofn.Errorf(lofn.Invalid, "%s:%d:%d: the line has not as many fields as the head has columns", r.path, problem.Line, problem.Column)
	}
	return lofn.Errorf(lofn.Invalid, "%s:%d:%d: %w", r.path, problem.Line, problem.Column, problem.Err)
}
