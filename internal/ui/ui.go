// Package ui is the front door for browsers. For now it is one page that lists
// the functions and how they are.
package ui

import (
	"bytes"
	_ "embed"
	"html/template"
	"log/slog"
	"net/http"

	"lofn"
	"lofn/internal/auth"
	"lofn/internal/problem"
)

//go:embed page.html
var page string

// replicas tells what runs.
type replicas interface {
	Wanted(lofn.Ref) int
	Replicas(lofn.Ref) []lofn.Replica
}

// Config is what a UI works with.
type Config struct {
	Functions lofn.Store[lofn.Function]
	Replicas  replicas
	Auth      auth.Authenticator
	Release   string
	Log       *slog.Logger
}

// New returns the handler for /ui/.
func New(c Config) http.Handler {
	u := &ui{Config: c, page: template.Must(template.New("page").Parse(page))}
	mux := http.NewServeMux()
	mux.Handle("GET /ui/{$}", auth.Require(c.Auth, problem.Handle(c.Log, u.list)))
	return mux
}

type ui struct {
	Config
	page *template.Template
}

// row is a function as the page shows it.
type row struct {
	Function      lofn.Function
	Wanted, Ready int
	// Trouble is why a replica is not ready, if one is not.
	Trouble string
}

func (u *ui) list(w http.ResponseWriter, r *http.Request) error {
	records, err := u.Functions.List(r.Context(), "")
	if err != nil {
		return err
	}
	rows := make([]row, 0, len(records))
	for _, record := range records {
		rows = append(rows, u.row(record.Value))
	}
	var out bytes.Buffer
	if err := u.page.Execute(&out, map[string]any{"Rows": rows, "Release": u.Release}); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	_, _ = w.Write(out.Bytes())
	return nil
}

func (u *ui) row(fn lofn.Function) row {
	out := row{Function: fn, Wanted: u.Replicas.Wanted(fn.Ref)}
	for _, replica := range u.Replicas.Replicas(fn.Ref) {
		switch {
		case replica.State == lofn.Ready:
			out.Ready++
		case replica.Reason != "":
			out.Trouble = replica.Reason
		}
	}
	return out
}
