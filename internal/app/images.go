package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"lofn/internal/registry"
)

// openImages also clears what is unpacked of images that no function uses any
// more: before any function runs is the moment when that is certain.
func (p *platform) openImages(ctx context.Context, url string) (err error) {
	config := registry.Config{Dir: p.data.join("registry"), Log: p.log}
	if p.before != nil {
		config.UploadSecret = p.before.estate.UploadSecret
	}
	p.registry, err = registry.New(config)
	if err != nil {
		return fmt.Errorf("registry: %w", err)
	}
	p.images, err = registry.NewImages(registry.ImagesConfig{
		Registry: p.registry, Hosts: hostsOf(url), Dir: p.data.join("images"), Log: p.log,
	})
	if err != nil {
		return fmt.Errorf("images: %w", err)
	}
	used, err := p.usedImages(ctx)
	if err != nil {
		return err
	}
	return p.images.Prune(ctx, used)
}

// usedImages tells which images the functions have, by digest.
func (p *platform) usedImages(ctx context.Context) (func(digest string) bool, error) {
	functions, err := p.functions.List(ctx, "")
	if err != nil {
		return nil, err
	}
	used := make(map[string]bool)
	if p.before != nil {
		for _, digest := range p.before.estate.Digests {
			used[digest] = true
		}
	}
	for _, fn := range functions {
		used[fn.Value.Digest] = true
	}
	return func(digest string) bool { return used[digest] }, nil
}

// collectInterval is how often the registry is cleared of unused images.
const collectInterval = time.Hour

// collectImages clears the registry of what no tag names and no function uses,
// and containers' images of what no function uses, at once and then every hour until ctx ends.
func (p *platform) collectImages(ctx context.Context) {
	ticker := time.NewTicker(collectInterval)
	defer ticker.Stop()
	for {
		used, err := p.usedImages(ctx)
		if err == nil {
			err = errors.Join(p.registry.Collect(ctx, used), p.containers.Collect(ctx, used))
		}
		if err != nil && ctx.Err() == nil {
			p.log.Warn("unused images stay on the disk, trying again later", "in", collectInterval, "error", err)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// hostsOf are the hosts by which images are pushed to the platform at the URL.
func hostsOf(url string) []string {
	scheme, host, _ := strings.Cut(url, "://")
	_, port, _ := net.SplitHostPort(host)
	hosts := []string{host}
	if strings.HasPrefix(host, "127.0.0.1:") {
		hosts = append(hosts, "localhost:"+port)
	}
	if name, standard := strings.CutSuffix(host, ":443"); standard && scheme == "https" {
		hosts = append(hosts, name)
	}
	return hosts
}
