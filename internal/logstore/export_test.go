package logstore

import "time"

// SetClock replaces the time of day. It must be called before the first line.
func (s *Store) SetClock(now func() time.Time) { s.now = now }

// Dir returns the store's folder.
func (s *Store) Dir() string { return s.config.Dir }
