package flight_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lofn/internal/flight"
)

func TestWorkIsDoneOnceForAllWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g flight.Group[int]
		starts := 0
		work := func(context.Context, func(string)) (int, error) {
			starts++
			time.Sleep(time.Second)
			return 7, nil
		}
		var callers sync.WaitGroup
		for range 10 {
			callers.Go(func() {
				if got, err := g.Join(t.Context(), "key", work, nil); got != 7 || err != nil {
					t.Errorf("got %d, %v", got, err)
				}
			})
		}
		callers.Wait()
		if starts != 1 {
			t.Errorf("the work was started %d times", starts)
		}
		if _, err := g.Join(t.Context(), "key", work, nil); err != nil || starts != 2 {
			t.Errorf("after it had ended the work was started %d times in all: %v", starts, err)
		}
	})
}

func TestWorkEndsWhenNobodyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g flight.Group[int]
		ended := false
		stuck := func(ctx context.Context, _ func(string)) (int, error) {
			<-ctx.Done()
			ended = true
			return 0, ctx.Err()
		}
		first, leaveFirst := context.WithCancel(t.Context())
		second, leaveSecond := context.WithCancel(t.Context())
		for _, ctx := range []context.Context{first, second} {
			go func() {
				if _, err := g.Join(ctx, "key", stuck, nil); !errors.Is(err, context.Canceled) {
					t.Errorf("who left got %v", err)
				}
			}()
		}
		synctest.Wait()
		leaveFirst()
		synctest.Wait()
		if ended {
			t.Error("the work ended though somebody waits")
		}
		leaveSecond()
		synctest.Wait()
		if !ended {
			t.Error("the work goes on for nobody")
		}
		// Who comes then gets work of their own.
		if got, err := g.Join(t.Context(), "key", func(context.Context, func(string)) (int, error) { return 1, nil }, nil); got != 1 || err != nil {
			t.Errorf("got %d, %v", got, err)
		}
	})
}

func TestProgressIsTheLatestAndNotOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g flight.Group[int]
		work := func(_ context.Context, report func(string)) (int, error) {
			for _, line := range []string{"a", "b", "c"} {
				report(line)
			}
			time.Sleep(time.Second)
			report("d")
			time.Sleep(time.Second)
			return 0, nil
		}
		var lines []string
		if _, err := g.Join(t.Context(), "key", work, func(line string) { lines = append(lines, line) }); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(lines, []string{"c", "d"}) {
			t.Errorf("the lines were %q", lines)
		}
	})
}

func TestFlyingTellsWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g flight.Group[int]
		check := func(key string, want bool) {
			t.Helper()
			g.Flying(key, func(flying bool) {
				if flying != want {
					t.Errorf("%s is under way: %v", key, flying)
				}
			})
		}
		check("key", false)
		go g.Join(t.Context(), "key", func(context.Context, func(string)) (int, error) {
			time.Sleep(time.Second)
			return 0, nil
		}, nil)
		synctest.Wait()
		check("key", true)
		check("other", false)
		time.Sleep(2 * time.Second)
		check("key", false)
	})
}
