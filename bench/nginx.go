package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// nginx is a reverse proxy in front of the function, set up to do as little as
// it can: connections are kept on both sides, and nothing is logged.
type nginx struct {
	process *exec.Cmd
	address string
}

// unbuffered is where nginx passes on what comes as it comes.
const unbuffered = "/unbuffered"

// The placeholders are the user, the folder, the upstream, the address and the
// path. Calls are buffered as nginx does by default, but in memory: with its
// default sizes a body of 64 KiB would go through a file, and an unbuffered
// stream be read in pieces of 4 KiB.
const nginxConfig = `%[1]s
daemon off;
pid %[2]s/nginx.pid;
error_log stderr error;
worker_processes auto;
worker_rlimit_nofile 8192;
events { worker_connections 4096; }
http {
  access_log off;
  keepalive_requests 100000000;
  client_body_temp_path %[2]s/body;
  proxy_temp_path %[2]s/proxy;
  fastcgi_temp_path %[2]s/fastcgi;
  uwsgi_temp_path %[2]s/uwsgi;
  scgi_temp_path %[2]s/scgi;
  client_body_buffer_size 128k;
  proxy_buffers 16 16k;
  upstream function { server %[3]s; keepalive 512; keepalive_requests 100000000; }
  proxy_http_version 1.1;
  proxy_set_header Connection "";
  server {
    listen %[4]s;
    location / { proxy_pass http://function; }
    location %[5]s/ {
      proxy_pass http://function/;
      proxy_buffering off;
      proxy_buffer_size 128k;
      proxy_busy_buffers_size 128k;
      proxy_request_buffering off;
      client_max_body_size 0;
    }
  }
}
`

// startNginx returns nil if there is no nginx on this machine.
func startNginx(ctx context.Context, dir string, server string) (*nginx, error) {
	binary, err := exec.LookPath("nginx")
	if err != nil {
		if binary, err = exec.LookPath("/usr/sbin/nginx"); err != nil {
			return nil, nil
		}
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;" // who may enter the folder of the socket
	}
	folder := filepath.Join(dir, "nginx")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, err
	}
	config := filepath.Join(folder, "nginx.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, nginxConfig, user, folder, server, address, unbuffered), 0o644); err != nil {
		return nil, err
	}
	n := &nginx{address: address, process: exec.Command(binary, "-p", folder, "-c", config)}
	n.process.Stderr = os.Stderr
	if err := n.process.Start(); err != nil {
		return nil, err
	}
	return n, n.accepting(ctx)
}

func (n *nginx) accepting(ctx context.Context) error {
	for range 500 {
		if conn, err := net.Dial("tcp", n.address); err == nil {
			return conn.Close()
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	n.stop()
	return fmt.Errorf("nginx does not listen on %s", n.address)
}

func (n *nginx) stop() {
	_ = n.process.Process.Signal(syscall.SIGTERM)
	_ = n.process.Wait()
}
