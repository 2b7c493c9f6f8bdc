package scale

import (
	"context"
	"fmt"
	"time"

	"lofn"
)

const (
	// backlogPause, usagePause and queryPause are the times between two
	// measurements. A backlog is looked up at once, what a function consumes is
	// read from the kernel, a query goes through the network.
	backlogPause = time.Second
	usagePause   = 2 * time.Second
	queryPause   = 5 * time.Second
	// measureTime is how long a measurement may take.
	measureTime = 5 * time.Second
	// maxMeasuring bounds how many functions are measured at a time.
	maxMeasuring = 16
)

// pause is the time between two measurements, 0 for what the pool counts, and
// while there is nothing to measure.
func (f *function) pause() time.Duration {
	scaling := f.scaling()
	switch t := scaling.Type; {
	case f.wanted == 0 && t.Measured():
		return 0
	case t == lofn.ScaleByQueue:
		return backlogPause
	case t == lofn.ScaleByCPU, t == lofn.ScaleByMemory:
		return usagePause
	case t != "" && !t.Measured() && (f.wanted > 0 || scaling.Query != ""):
		return queryPause
	}
	return 0
}

// measures reports whether it is time for a measurement.
func (f *function) measures(now time.Time) bool {
	pause := f.pause()
	return pause > 0 && f.scaling().Type != lofn.ScaleByQueue && f.activity != nil && !f.measuring && now.Sub(f.measured) >= pause
}

// measure finds out what the load is, on a goroutine.
func (s *Scaler) measure(ctx context.Context, f *function, now time.Time) {
	f.measuring, f.measured = true, now
	ref, scaling, revision := f.ref, f.scaling(), f.revision
	go func() {
		s.measuring <- struct{}{}
		ctx, cancel := context.WithTimeout(ctx, measureTime)
		load, err := s.ask(ctx, ref, scaling)
		cancel()
		<-s.measuring
		s.mu.Lock()
		event := ""
		if s.functions[ref] == f && f.revision == revision && f.activity != nil {
			f.measuring = false
			event = s.learn(f, load, err)
		}
		s.mu.Unlock()
		if event != "" {
			s.Event(ref, event)
		}
	}()
}

// ask asks who knows the load.
func (s *Scaler) ask(ctx context.Context, ref lofn.Ref, scaling lofn.Scaling) (float64, error) {
	switch scaling.Type {
	case lofn.ScaleByCPU, lofn.ScaleByMemory:
		if s.Usage == nil {
			return 0, s.measurable(scaling)
		}
		usage, err := s.Usage.Usage(ctx, ref)
		if scaling.Type == lofn.ScaleByCPU {
			return usage.MilliCPU, err
		}
		return usage.MemoryBytes, err
	}
	if s.Query == nil {
		return 0, s.measurable(scaling)
	}
	expression := query(ref, scaling)
	load, found, err := s.Query(ctx, expression)
	if err == nil && !found {
		err = fmt.Errorf("Prometheus has no series for %s", expression)
	}
	return load, err
}

// query is the expression for a load that lofn does not measure.
func query(ref lofn.Ref, scaling lofn.Scaling) string {
	if scaling.Query != "" {
		return scaling.Query
	}
	// Of OpenFaaS Pro's recording rules: contract, 13.2.
	return fmt.Sprintf("sum(job:function_current_load:sum{function_name=%q,scaling_type=%q})", ref.Host(), scaling.Type)
}

// learn takes in a measurement, and returns what is to be told about it. One
// that failed leaves things as they are.
func (s *Scaler) learn(f *function, load float64, err error) (event string) {
	now := s.Now()
	problem := ""
	if err != nil {
		problem = "its load is not known, so its replicas stay as they are: " + err.Error()
	}
	switch {
	case problem == f.problem:
	case problem == "":
		event = "its load is known again"
		s.Log.Info("function can be scaled again", "function", f.ref, "type", f.scaling().Type)
	default:
		event = problem
		s.Log.Warn("cannot scale function", "function", f.ref, "type", f.scaling().Type, "reason", err)
	}
	f.problem, f.known = problem, err == nil
	if f.known {
		f.set(now, load)
	}
	s.soon(f, now)
	return event
}
