package registry

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"lofn"
)

// fetch reads the image from its registry and unpacks it.
func (im *Images) fetch(ctx context.Context, r reference, digest string) (lofn.Image, error) {
	image, err := r.get(ctx)
	if err != nil {
		return lofn.Image{}, err
	}
	dir, err := os.MkdirTemp(im.dir, unfinished+"unpack-*")
	if err != nil {
		return lofn.Image{}, r.explain(ctx, err)
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
			im.log.Warn("images: an unfinished image was not removed", "dir", dir, "error", err)
		}
	}()
	if err := unpackImage(ctx, image, dir); err != nil {
		return lofn.Image{}, r.explain(ctx, err)
	}
	if err := im.publish(dir, im.path(digest)); err != nil {
		return lofn.Image{}, r.explain(ctx, err)
	}
	return im.unpacked(digest)
}

// publish gives a finished folder its name, once its content is on disk.
func (im *Images) publish(dir, path string) error {
	if err := syncTree(dir); err != nil {
		return err
	}
	err := os.Rename(dir, path)
	if errors.Is(err, fs.ErrExist) || errors.Is(err, syscall.ENOTEMPTY) {
		// A flight that everybody left finished all the same: same content.
		return nil
	}
	return errors.Join(err, syncDir(im.dir))
}

func unpackImage(ctx context.Context, image v1.Image, dir string) error {
	config, err := image.RawConfigFile()
	if err != nil {
		return err
	}
	rootPath := filepath.Join(dir, rootName)
	if err := os.Mkdir(rootPath, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(rootPath)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := unpackLayers(ctx, image, root); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, configName), config, 0o644); err != nil {
		return err
	}
	// MkdirTemp lets nobody else in, and the umask may do so too.
	return errors.Join(os.Chmod(dir, 0o755), os.Chmod(rootPath, 0o755))
}

func unpackLayers(ctx context.Context, image v1.Image, root *os.Root) error {
	layers, err := image.Layers()
	if err != nil {
		return err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return err
	}
	if len(config.RootFS.DiffIDs) != len(layers) {
		return lofn.Errorf(lofn.Invalid, "its configuration speaks of %d layers, its manifest of %d", len(config.RootFS.DiffIDs), len(layers))
	}
	for i, layer := range layers {
		if err := unpackLayer(ctx, layer, config.RootFS.DiffIDs[i], root); err != nil {
			return fmt.Errorf("layer %d: %w", i+1, err)
		}
	}
	return nil
}

func unpackLayer(ctx context.Context, layer v1.Layer, diffID v1.Hash, root *os.Root) error {
	content, err := layer.Uncompressed()
	if err != nil {
		return err
	}
	defer content.Close()
	sum := sha256.New()
	reader := io.TeeReader(contextReader{ctx, content}, sum)
	if err := extract(reader, root); err != nil {
		return err
	}
	// The digest covers what follows the archive's end, and the client checks
	// the compressed one when it comes to the end of the stream.
	if _, err := io.Copy(io.Discard, reader); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); diffID.Algorithm != "sha256" || got != diffID.Hex {
		return lofn.Errorf(lofn.Invalid, "it is damaged: the content is sha256:%s, the configuration says %s", got, diffID)
	}
	return nil
}

// contextReader ends with its context.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

func diskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
