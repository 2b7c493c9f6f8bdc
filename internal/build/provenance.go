package build

import (
	"context"
	"net/url"
	"regexp"
	"strings"
)

// Labels that say where an image's source is, as the OCI has them.
const (
	labelSource   = "org.opencontainers.image.source"
	labelRevision = "org.opencontainers.image.revision"
)

// provenance returns the labels for what git knows of the handler; none if it
// knows nothing. The revision is the last commit that changed the function, and
// not the last of all: other commits would give the same function other images.
func (req *Request) provenance(ctx context.Context) map[string]string {
	labels := map[string]string{}
	paths := []string{"--", req.path(req.Handler)}
	for _, extra := range req.Copy {
		paths = append(paths, req.path(extra))
	}
	revision, err := git(ctx, req.Dir, append([]string{"log", "-1", "--format=%H"}, paths...)...)
	if err != nil || revision == "" {
		return labels
	}
	changes, err := git(ctx, req.Dir, append([]string{"status", "--porcelain"}, paths...)...)
	if err != nil {
		return labels
	}
	if changes != "" {
		revision += "-dirty"
	}
	labels[labelRevision] = revision
	if origin, err := git(ctx, req.Dir, "remote", "get-url", "origin"); err == nil {
		if source := webAddress(origin); source != "" {
			labels[labelSource] = source
		}
	}
	return labels
}

var scpLike = regexp.MustCompile(`^(?:[^@/]+@)?([^:/]+\.[^:/]+):(.+)$`)

// webAddress is the address of a repository for people, the same whether it was
// cloned by HTTPS or by SSH, and without credentials; "" for one on this machine.
func webAddress(origin string) string {
	if m := scpLike.FindStringSubmatch(origin); m != nil && !strings.Contains(origin, "://") {
		origin = "ssh://" + m[1] + "/" + m[2]
	}
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" {
		return ""
	}
	return "https://" + u.Hostname() + "/" + strings.TrimSuffix(strings.Trim(u.Path, "/"), ".git")
}
