package build

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // names a version, guards nothing
	"encoding/hex"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"lofn"
)

// TagModes are the values of --tag.
func TagModes() []string { return []string{"latest", "sha", "branch", "describe", "digest"} }

// Tag returns image with the tag that mode asks for, which is one of TagModes
// or empty: a tag that is missing becomes latest, to which sha, branch and
// describe append what git says of dir, and which digest replaces by the MD5
// of the handler folder. A name that is pinned to a digest stays as it is.
func Tag(ctx context.Context, mode, image, dir, handler string) (string, error) {
	if strings.Contains(image, "@") {
		return image, checkImage(image)
	}
	repository, tag := splitTag(image)
	if tag == "" {
		tag = "latest"
	}
	switch mode {
	case "", "latest":
	case "sha", "branch", "describe":
		suffix, err := gitTag(ctx, mode, dir)
		if err != nil {
			return "", err
		}
		tag += "-" + suffix
	case "digest":
		sum, err := folderMD5(dir, handler)
		if err != nil {
			return "", err
		}
		tag = sum
	default:
		return "", lofn.Errorf(lofn.Invalid, "--tag: %q is not known: use one of %s", mode, strings.Join(TagModes(), ", "))
	}
	full := repository + ":" + tag
	return full, checkImage(full)
}

// splitTag cuts the tag off; a colon before a slash belongs to a port.
func splitTag(image string) (repository, tag string) {
	if i := strings.LastIndexByte(image, ':'); i > strings.LastIndexByte(image, '/') {
		return image[:i], image[i+1:]
	}
	return image, ""
}

func checkImage(image string) error {
	if _, err := name.ParseReference(image); err != nil {
		return lofn.Errorf(lofn.Invalid, "image: %q is not an image name: use lower-case letters, digits and . _ - between slashes, such as prefix/name:tag", image)
	}
	return nil
}

func gitTag(ctx context.Context, mode, dir string) (string, error) {
	sha := []string{"rev-parse", "--short", "HEAD"}
	switch mode {
	case "sha":
		return git(ctx, dir, sha...)
	case "describe":
		return git(ctx, dir, "describe", "--tags", "--always")
	}
	branch, err := git(ctx, dir, "rev-parse", "--abbrev-ref", "HEAD")
	if err != nil {
		return "", err
	}
	commit, err := git(ctx, dir, sha...)
	// A branch may be called feature/x, which no tag can be.
	return strings.ReplaceAll(branch, "/", "-") + "-" + commit, err
}

func git(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		why := strings.TrimSpace(stderr.String())
		if why == "" {
			why = err.Error()
		}
		return "", lofn.Errorf(lofn.Invalid, "git %s: %s", args[0], why)
	}
	return strings.TrimSpace(string(out)), nil
}

func folderMD5(dir, handler string) (string, error) {
	if !filepath.IsAbs(handler) {
		handler = filepath.Join(dir, handler)
	}
	all := sources{}
	if err := (walker{all: all, ignore: []string{".git"}}).add(handler, ".", nil); err != nil {
		return "", lofn.Errorf(lofn.Invalid, "--tag digest: handler: %w", err)
	}
	h := md5.New()
	for _, p := range all.sorted() {
		fmt.Fprintf(h, "%q\n", p)
		if all[p].open == nil {
			continue
		}
		file, err := all[p].open()
		if err != nil {
			return "", lofn.Errorf(lofn.Invalid, "--tag digest: %w", err)
		}
		_, err = io.Copy(h, file)
		file.Close()
		if err != nil {
			return "", lofn.Errorf(lofn.Invalid, "--tag digest: %w", err)
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
