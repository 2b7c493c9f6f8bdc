// Package registry is the built-in OCI registry, and the cache of images that
// are unpacked on this machine.
//
// A Registry is an http.Handler for the paths under /v2/; who may call it is
// decided in front of it. Images finds an image by the name that a deployer
// wrote, there or in another registry, and unpacks it once for all replicas.
package registry

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	"github.com/distribution/distribution/v3/registry/storage"
	"github.com/distribution/distribution/v3/registry/storage/driver/filesystem"

	"lofn"
)

const (
	// purgeInterval is how often abandoned uploads are looked for.
	purgeInterval = time.Hour
	// uploadAge is how old an upload must be to count as abandoned.
	uploadAge = 24 * time.Hour
)

// Config is what a Registry needs.
type Config struct {
	// Dir is the folder that the registry keeps everything in. It is created
	// if missing. No two registries may share one.
	Dir string
	// UploadSecret signs the state of uploads, which clients hold. A registry
	// that has it from the one before continues that one's uploads; empty
	// means a new one.
	UploadSecret string
	// Log receives faults of the registry; requests are not logged.
	Log *slog.Logger
}

// Registry stores images and serves them by the OCI distribution protocol. A
// push whose content does not have the digest that it claims is refused, and
// so is a manifest whose blobs are not there.
type Registry struct {
	app    *handlers.App
	secret string
	// driver is a way of its own to the files that app serves; app caches
	// nothing that it could make wrong.
	driver *filesystem.Driver
	layout layout
	log    *slog.Logger
	stop   context.CancelFunc
	tasks  sync.WaitGroup

	uses       uses
	collecting sync.Mutex // held by Collect
}

// New opens the registry over cfg.Dir.
func New(cfg Config) (*Registry, error) {
	if err := writable(cfg.Dir); err != nil {
		return nil, lofn.Errorf(lofn.Unavailable, "the registry's folder %s cannot be used: %w", cfg.Dir, err)
	}
	bridgeLog(cfg.Log)
	ctx, cancel := context.WithCancel(context.Background())
	secret := cmp.Or(cfg.UploadSecret, rand.Text())
	r := &Registry{
		app:    handlers.NewApp(ctx, appConfig(cfg.Dir, secret)),
		secret: secret,
		driver: filesystem.New(filesystem.DriverParameters{RootDirectory: cfg.Dir, MaxThreads: 25}),
		layout: layout{cfg.Dir},
		log:    cfg.Log,
		stop:   cancel,
	}
	// Those of an earlier process are abandoned, as its clients hold a state
	// that it signed. Upload times are kept in whole seconds: one of this
	// second is spared.
	abandoned := time.Now().Add(-time.Second)
	if cfg.UploadSecret != "" {
		abandoned = time.Now().Add(-uploadAge)
	}
	r.tasks.Go(func() { r.purgeUploads(ctx, abandoned) })
	return r, nil
}

// UploadSecret is what a registry needs to continue this one's uploads.
func (r *Registry) UploadSecret() string { return r.secret }

// Close ends the registry's own work, but for one idle goroutine of the library
// that has no end. Requests under way are not its concern: whoever serves them
// drains them.
func (r *Registry) Close() error {
	r.stop()
	r.tasks.Wait()
	return r.app.Shutdown()
}

func appConfig(dir, secret string) *configuration.Configuration {
	return &configuration.Configuration{
		Storage: configuration.Storage{
			"filesystem": {"rootdirectory": dir},
			"delete":     {"enabled": true},
			"redirect":   {"disable": true},
			// purgeUploads does it, and can be waited for.
			"maintenance": {"uploadpurging": map[any]any{"enabled": false}},
		},
		HTTP: configuration.HTTP{
			Secret: secret,
			// The registry does not know under which host it is reached.
			RelativeURLs: true,
		},
		Catalog: configuration.Catalog{MaxEntries: 1000},
		Tags:    configuration.Tags{MaxTags: 1000},
	}
}

// writable makes dir if it is missing, and reports whether files can be
// written there: the library would find out at the first push.
func writable(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".writable-*")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// purgeUploads removes uploads that nobody will finish: those that began
// before the time at once, and later those that are old.
func (r *Registry) purgeUploads(ctx context.Context, olderThan time.Time) {
	ticker := time.NewTicker(purgeInterval)
	defer ticker.Stop()
	for {
		if _, err := os.Stat(filepath.Join(r.layout.dir, "docker")); err == nil {
			if _, errs := storage.PurgeUploads(ctx, r.driver, olderThan, true); len(errs) > 0 {
				r.log.Warn("registry: abandoned uploads were not removed", "error", errors.Join(errs...))
			}
		}
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			olderThan = now.Add(-uploadAge)
		}
	}
}
