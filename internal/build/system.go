package build

import (
	"archive/tar"
	"encoding/pem"
	"fmt"
	"io"
	"strings"

	"golang.org/x/crypto/x509roots/fallback/bundle"

	"lofn"
	"lofn/internal/build/fwatchdog"
)

// watchdogPath is where the watchdog is in images for containers, as in those
// of OpenFaaS' templates.
const watchdogPath = "/usr/bin/fwatchdog"

// system packs what an image for containers has between its base and the
// function: the watchdog, and on scratch what programs look for anywhere.
func (p *packer) system(b fwatchdog.Binary, onScratch bool) error {
	if onScratch {
		if err := p.essentials(); err != nil {
			return err
		}
	}
	return p.content(strings.TrimPrefix(watchdogPath, "/"), 0o755, b.Size(), b.Open())
}

func (p *packer) essentials() error {
	for _, f := range []struct{ name, text string }{
		{"etc/group", fmt.Sprintf("root:x:0:\napp:x:%d:\n", lofn.NonRootUser)},
		{"etc/passwd", fmt.Sprintf("root:x:0:0:root:/root:/sbin/nologin\napp:x:%d:%[1]d:app:%s:/sbin/nologin\n", lofn.NonRootUser, lofn.AppDir)},
		{"etc/ssl/certs/ca-certificates.crt", authorities()},
	} {
		if err := p.content(f.name, 0o644, int64(len(f.text)), strings.NewReader(f.text)); err != nil {
			return err
		}
	}
	return p.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777, ModTime: p.time, Format: tar.FormatPAX})
}

// authorities are the certificates that Mozilla trusts without reservation, for
// a file of certificates cannot express any.
func authorities() string {
	var text strings.Builder
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			_ = pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate})
		}
	}
	return text.String()
}

// content packs a file that is not in the build folder.
func (p *packer) content(name string, mode, size int64, from io.Reader) error {
	if err := p.parents(name); err != nil {
		return err
	}
	if err := p.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: mode, ModTime: p.time, Format: tar.FormatPAX}); err != nil {
		return err
	}
	_, err := io.Copy(p.tar, from)
	return err
}

// systemKey is what the keys of system layers begin with in the memo.
const systemKey = "system "

// systemLayer stores that layer, or takes it from the last build.
func (v *variant) systemLayer(f *folder) (layer, error) {
	at, err := sourceTime()
	if err != nil {
		return layer{}, err
	}
	onScratch := v.base.image == nil
	key := fmt.Sprintf(systemKey+"%s %t %d", v.watchdog.Digest, onScratch, at.Unix())
	if l, ok := f.memo.Layers[key]; ok && v.Images.has(l.Digest, l.Size) {
		return l, nil
	}
	l, err := v.Images.addLayer(func(w io.Writer) (layer, error) {
		return pack(w, at, func(p *packer) error { return p.system(v.watchdog, onScratch) })
	})
	if err != nil {
		return layer{}, err
	}
	f.memo.Layers[key] = l
	return l, f.writeMemo()
}
