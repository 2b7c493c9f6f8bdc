package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"lofn"
)

// logsFlags are the flags of `logs`.
type logsFlags struct {
	target
	follow, json   bool
	lines          int
	since          time.Duration
	sinceTime      string
	instance       string
	name           bool
	format, layout string
}

func (p *program) logsCommand() *cobra.Command {
	l := logsFlags{target: target{p: p}}
	cmd := &cobra.Command{
		Use:   "logs NAME",
		Short: "Print what a function writes, and go on as it writes more",
		Long: `Prints the log of a function and goes on as it grows; --tail=false ends where the
log ends. A followed log outlives a restart of the gateway: no line is lost or
printed twice.`,
		Example: `  lofn logs hello
  lofn logs hello --tail=false --lines 20
  lofn logs hello --since 10m --output json
  lofn logs hello --instance              prints the instance of each line
  lofn logs hello --instance=hello-7f3a   prints the lines of that one`,
		Args:              oneFunction,
		ValidArgsFunction: l.completeFunctions,
		RunE:              func(cmd *cobra.Command, args []string) error { return l.run(cmd, args[0]) },
	}
	l.add(cmd)
	flags := cmd.Flags()
	flags.BoolVarP(&l.follow, "tail", "t", true, "go on with new lines as they are written")
	flags.IntVar(&l.lines, "lines", -1, "only the last so many lines, 0 or less for all")
	flags.DurationVar(&l.since, "since", 0, "only lines younger than this, such as 10m")
	flags.StringVar(&l.sinceTime, "since-time", "", "only lines since this time (RFC 3339)")
	flags.StringVar(&l.instance, "instance", "", "print the instance of each line; with =ID only the lines of that one")
	flags.Lookup("instance").NoOptDefVal = "true"
	flags.BoolVar(&l.name, "name", false, "print the function's name on each line")
	flags.StringVarP(&l.format, "output", "o", "plain", "plain, keyvalue or json")
	flags.StringVar(&l.layout, "time-format", time.RFC3339, "layout of the time, in Go's notation or by its name such as RFC3339Nano; empty for none")
	flags.BoolVarP(&l.json, "json", "j", false, "the same as --output=json")
	completeFlag(cmd, "output", "plain", "keyvalue", "json")
	return cmd
}

func (l *logsFlags) run(cmd *cobra.Command, name string) error {
	print, err := l.printer()
	if err != nil {
		return err
	}
	query, err := l.query(cmd, name)
	if err != nil {
		return err
	}
	c, err := l.connect(cmd)
	if err != nil {
		return err
	}
	stream := c.Logs(cmd.Context(), query)
	if l.follow {
		stream = l.p.followLogs(cmd.Context(), c, query)
	}
	for message, err := range stream {
		if err != nil {
			return noSuchFunction(err, query.Function)
		}
		l.p.outf("%s\n", print(message))
	}
	return nil
}

func (l *logsFlags) query(cmd *cobra.Command, name string) (lofn.LogQuery, error) {
	ref, err := l.ref(cmd, name)
	if err != nil {
		return lofn.LogQuery{}, err
	}
	query := lofn.LogQuery{Function: ref, Tail: l.lines, Follow: l.follow}
	if l.instance != "true" && l.instance != "false" {
		query.Instance = l.instance
	}
	switch {
	case l.since < 0:
		return query, fmt.Errorf("--since: %s lies ahead: use a duration such as 10m", l.since)
	case l.sinceTime != "":
		if query.Since, err = time.Parse(time.RFC3339, l.sinceTime); err != nil {
			return query, fmt.Errorf("--since-time: %q is not a time: use one such as 2026-01-31T15:04:05Z", l.sinceTime)
		}
	case l.since > 0:
		query.Since = time.Now().Add(-l.since)
	}
	return query, nil
}

// printer returns how a line is printed.
func (l *logsFlags) printer() (func(lofn.LogMessage) string, error) {
	format := l.format
	if l.json {
		format = "json"
	}
	layout := timeLayout(l.layout)
	switch format {
	case "plain":
		return func(m lofn.LogMessage) string { return l.plain(m, layout) }, nil
	case "keyvalue":
		return func(m lofn.LogMessage) string { return l.keyValue(m, layout) }, nil
	case "json":
		return jsonLine, nil
	}
	return nil, fmt.Errorf("--output: %q is not a format: use plain, keyvalue or json", format)
}

func (l *logsFlags) showsInstance() bool { return l.instance != "" && l.instance != "false" }

func (l *logsFlags) plain(m lofn.LogMessage, layout string) string {
	var parts []string
	if layout != "" {
		parts = append(parts, m.Timestamp.Format(layout))
	}
	if l.name {
		parts = append(parts, m.Name)
	}
	if l.showsInstance() {
		parts = append(parts, "("+m.Instance+")")
	}
	return strings.Join(append(parts, strings.TrimRight(m.Text, "\n")), " ")
}

func (l *logsFlags) keyValue(m lofn.LogMessage, layout string) string {
	var parts []string
	add := func(key, value string) { parts = append(parts, fmt.Sprintf(`%s="%s"`, key, value)) }
	if layout != "" {
		add("timestamp", m.Timestamp.Format(layout))
	}
	if l.name {
		add("name", m.Name)
	}
	if l.showsInstance() {
		add("instance", m.Instance)
	}
	add("text", strings.TrimRight(m.Text, "\n"))
	return strings.Join(parts, " ")
}

// timeLayout accepts the names that package time gives its layouts.
func timeLayout(layout string) string {
	named, ok := map[string]string{
		"ansic": time.ANSIC, "unixdate": time.UnixDate, "rubydate": time.RubyDate,
		"rfc822": time.RFC822, "rfc822z": time.RFC822Z, "rfc850": time.RFC850,
		"rfc1123": time.RFC1123, "rfc1123z": time.RFC1123Z,
		"rfc3339": time.RFC3339, "rfc3339nano": time.RFC3339Nano,
	}[strings.ToLower(layout)]
	if ok {
		return named
	}
	return layout
}
