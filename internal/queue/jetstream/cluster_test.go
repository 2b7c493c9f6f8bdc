package jetstream_test

import (
	"fmt"
	"strings"
	"testing"

	natsjs "github.com/nats-io/nats.go/jetstream"

	"lofn"
	"lofn/internal/queue/jetstream"
)

// startCluster starts three servers that know each other.
func startCluster(t *testing.T) (servers []*natsServer, url string) {
	t.Helper()
	var routes, urls []string
	for range 3 {
		routes = append(routes, freeAddress(t))
	}
	for i, route := range routes {
		server := prepareServer(t, fmt.Sprintf("server_name: s%d", i), fmt.Sprintf("jetstream { store_dir: %q }", t.TempDir()),
			fmt.Sprintf("cluster { name: test, listen: %q, routes: [ nats://%s ] }", route, strings.Join(routes, ", nats://")))
		servers = append(servers, server.start(t))
		urls = append(urls, server.url)
	}
	return servers, strings.Join(urls, ",")
}

// A log with three copies goes on with two servers, without any loss.
func TestCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("a cluster takes its time to choose leaders")
	}
	servers, url := startCluster(t)
	config := jetstream.Config{URL: url, Log: testLog(t)}
	wait(t, "the cluster has a leader", func() bool {
		l, err := jetstream.Open(t.Context(), config)
		if err != nil {
			t.Log(err)
			return false
		}
		defer l.Close()
		_, err = l.Bucket(t.Context())
		return err == nil
	})
	// It began with one copy.
	config.Replicas = 3
	more := config
	more.Replicas = 5
	wantError(t, more, lofn.Invalid, "5 copies", "cluster")
	l := openLog(t, config)
	bucket := openBucket(t, l)
	awaitCopies(t, servers[0])
	body := writeBlob(t, bucket, pattern(3<<20))
	last := uint64(0)
	for i := range servers {
		for range 20 {
			last = appendSomehow(t, l, last)
		}
		servers[i].kill()
		last = appendSomehow(t, l, last)
		checkBlob(t, bucket, body, pattern(3<<20))
		servers[i].start(t)
		// Another one may fail when this one has what it missed.
		awaitCopies(t, servers[i])
	}
	next := uint64(1)
	for r, err := range l.Read(t.Context(), 1) {
		if err != nil || r.Number != next {
			t.Fatalf("after %d comes %d, %v", next-1, r.Number, err)
		}
		next++
	}
	if next != last+1 {
		t.Errorf("there are %d records, want %d", next-1, last)
	}
}

// awaitCopies waits until all three servers have all there is.
func awaitCopies(t *testing.T, server *natsServer) {
	t.Helper()
	js := raw(t, server)
	for _, name := range []string{jetstream.DefaultStream, "OBJ_" + jetstream.DefaultStream} {
		wait(t, name+" has three copies", func() bool {
			stream, err := js.Stream(t.Context(), name)
			if err != nil {
				return false
			}
			at := stream.CachedInfo().Cluster
			return at.Leader != "" && len(at.Replicas) == 2 && isCurrent(at.Replicas[0]) && isCurrent(at.Replicas[1])
		})
	}
}

func isCurrent(p *natsjs.PeerInfo) bool { return p.Current && !p.Offline && p.Lag == 0 }

// appendSomehow appends one record, however often it takes, and returns the
// last number.
func appendSomehow(t *testing.T, l *jetstream.Log, last uint64) uint64 {
	t.Helper()
	wait(t, "a record is appended", func() bool {
		number, err := l.Append(t.Context(), last, []byte("after"), false)
		if err == nil {
			last = number
			return true
		}
		t.Logf("after %d: %v", last, err)
		for r, err := range l.Read(t.Context(), last+1) {
			switch {
			case err == nil:
				last = r.Number
			case lofn.CodeOf(err) == lofn.Internal:
				t.Fatalf("Read after %d: %v", last, err)
			}
		}
		return false
	})
	return last
}
