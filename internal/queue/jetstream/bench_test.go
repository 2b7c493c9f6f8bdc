package jetstream_test

import (
	"fmt"
	"log/slog"
	"testing"

	"lofn/internal/queue/jetstream"
)

// BenchmarkRead measures reading a log whole, by the size of its records.
func BenchmarkRead(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10, 900 << 10} {
		records := min(5_000, 200<<20/size)
		for _, place := range []string{"embedded", "external"} {
			b.Run(fmt.Sprintf("%s/%dKiB", place, size>>10), func(b *testing.B) {
				l := benchLog(b, place)
				for i := range records {
					if _, err := l.Append(b.Context(), uint64(i), make([]byte, size), false); err != nil {
						b.Fatal(err)
					}
				}
				b.SetBytes(int64(size * records))
				for b.Loop() {
					for _, err := range l.Read(b.Context(), 1) {
						if err != nil {
							b.Fatal(err)
						}
					}
				}
			})
		}
	}
}

// BenchmarkAppend measures one record after the other.
func BenchmarkAppend(b *testing.B) {
	for _, place := range []string{"embedded", "external"} {
		b.Run(place, func(b *testing.B) {
			l, last := benchLog(b, place), uint64(0)
			for b.Loop() {
				number, err := l.Append(b.Context(), last, make([]byte, 10<<10), false)
				if err != nil {
					b.Fatal(err)
				}
				last = number
			}
		})
	}
}

func benchLog(b *testing.B, place string) *jetstream.Log {
	b.Helper()
	if place == "external" {
		return startServer(b).open(b)
	}
	return openLog(b, jetstream.Config{Engine: openEngine(b, b.TempDir()), Log: slog.New(slog.DiscardHandler)})
}
