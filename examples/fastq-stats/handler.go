// Package function answers with statistics of the FASTQ file in the request
// body: how many reads and bases, their lengths, GC content and qualities. The
// file may be compressed with gzip. It is read once and never held in memory.
package function

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"
)

// Handle answers a FASTQ file with its statistics: as JSON, or as a table if
// the query says format=text or the Accept header prefers text/plain. A file
// that is not FASTQ gets status 400 and a line that names the record and line
// at fault.
func Handle(w http.ResponseWriter, r *http.Request) {
	format, err := answerFormat(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	stats, err := statsOf(r.Context(), r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if format == "text" {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		writeTable(w, stats.Summary())
		return
	}
	w.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	// A failed write means that the caller has gone: nobody is left to tell.
	_ = encoder.Encode(stats.Summary())
}

func statsOf(ctx context.Context, body io.Reader) (*Stats, error) {
	text, err := decompress(body)
	if err != nil {
		return nil, err
	}
	stats := &Stats{}
	if err := stats.Read(ctx, text); err != nil {
		return nil, err
	}
	if stats.reads == 0 {
		return nil, errors.New("the body has no reads: send a FASTQ file, plain or gzip, such as with curl --data-binary @reads.fastq.gz")
	}
	return stats, nil
}

// decompress recognises gzip by its first two bytes, as neither the file's
// name nor a reliable Content-Type arrives with a request body. A file of many
// gzip members, such as bgzip and cat make, is read to its end.
func decompress(body io.Reader) (io.Reader, error) {
	buffered := bufio.NewReader(body)
	magic, err := buffered.Peek(2)
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("reading the body: %w", err)
	}
	if string(magic) != "\x1f\x8b" {
		return buffered, nil
	}
	unzipped, err := gzip.NewReader(buffered)
	if err != nil {
		return nil, fmt.Errorf("the body starts like a gzip file but is none: %w", err)
	}
	return unzipped, nil
}

// answerFormat is "json" or "text". The query wins, because it is what a
// browser or a command line can set most easily.
func answerFormat(r *http.Request) (string, error) {
	switch format := r.URL.Query().Get("format"); format {
	case "json", "text":
		return format, nil
	case "":
	default:
		return "", fmt.Errorf("format: %q is unknown, use json or text", format)
	}
	for _, accepted := range strings.Split(r.Header.Get("Accept"), ",") {
		mediaType, _, _ := strings.Cut(strings.TrimSpace(accepted), ";")
		switch mediaType {
		case "text/plain":
			return "text", nil
		case "application/json", "*/*":
			return "json", nil
		}
	}
	return "json", nil
}

func writeTable(w io.Writer, s Summary) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "reads\t%d\n", s.Reads)
	fmt.Fprintf(table, "bases\t%d\n", s.Bases)
	fmt.Fprintf(table, "length min / mean / max\t%d / %.1f / %d\n", s.Length.Min, s.Length.Mean, s.Length.Max)
	fmt.Fprintf(table, "GC content\t%.2f %%\n", 100*s.GCContent)
	fmt.Fprintf(table, "N\t%d\n", s.N)
	fmt.Fprintf(table, "other ambiguous bases\t%d\n", s.Ambiguous)
	fmt.Fprintf(table, "mean quality, arithmetic\t%.2f\n", s.Quality.MeanArithmetic)
	fmt.Fprintf(table, "mean quality, by error probability\t%.2f\n", s.Quality.MeanByErrorProbability)
	fmt.Fprintf(table, "bases of Q20 and better\t%.2f %%\n", 100*s.Quality.Q20)
	fmt.Fprintf(table, "bases of Q30 and better\t%.2f %%\n", 100*s.Quality.Q30)
	for _, warning := range s.Warnings {
		fmt.Fprintf(table, "warning\t%s\n", warning)
	}
	_ = table.Flush()
}
