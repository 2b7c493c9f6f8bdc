package network

import (
	"os"
	"path/filepath"
	"testing"
)

func TestResolvConf(t *testing.T) {
	public := "nameserver 8.8.8.8\nnameserver 1.1.1.1\n"
	for name, c := range map[string]struct {
		files      []string
		want       string
		wantPublic bool
	}{
		"as it is":               {[]string{"nameserver 10.0.0.2\nsearch corp.example\noptions ndots:2\n"}, "search corp.example\noptions ndots:2\nnameserver 10.0.0.2\n", false},
		"comments":               {[]string{"# nameserver 10.0.0.9\n; more\n\n  nameserver\t10.0.0.2 # mine\n"}, "nameserver 10.0.0.2\n", false},
		"systemd":                {[]string{"nameserver 127.0.0.53\nsearch here\n", "nameserver 10.0.0.2\nsearch there\n"}, "search there\nnameserver 10.0.0.2\n", false},
		"loopback beside others": {[]string{"nameserver 127.0.0.1\nnameserver 10.0.0.2\n", "nameserver 10.0.0.3\n"}, "nameserver 10.0.0.2\n", false},
		"what needs IPv6":        {[]string{"nameserver fe80::1%eth0\nnameserver 2001:db8::1\nnameserver 10.0.0.2\n"}, "nameserver 10.0.0.2\n", false},
		"loopback only":          {[]string{"search corp.example\nnameserver 127.0.0.1\nnameserver ::1\nnameserver 0.0.0.0\n"}, "search corp.example\n" + public, true},
		"nothing":                {nil, public, true},
		"nonsense":               {[]string{"nameserver\nnameserver none\x00\n"}, public, true},
	} {
		t.Run(name, func(t *testing.T) {
			var paths []string
			for i, content := range append(c.files, "") {
				path := filepath.Join(t.TempDir(), "resolv.conf")
				if paths = append(paths, path); i == len(c.files) {
					break // and this one does not exist
				}
				if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			got, public, err := resolvConf(paths...)
			if err != nil || string(got) != c.want || public != c.wantPublic {
				t.Errorf("got %q, public %v, %v; want %q", got, public, err, c.want)
			}
		})
	}
}
