package install

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// Service is what the settings make of the service.
type Service struct {
	// Listen, MetricsListen and Data are as lofn serve takes them; Data is an
	// absolute path.
	Listen, MetricsListen, Data string
	// TLS says that it speaks HTTPS.
	TLS bool
	// Containerd is the socket of the containerd that runs its containers, empty
	// if none does.
	Containerd string
}

// URL is where this machine reaches the service.
func (s Service) URL() string {
	if s.TLS {
		return "https://" + local(s.Listen)
	}
	return "http://" + local(s.Listen)
}

// MetricsURL is where this machine reaches the metrics.
func (s Service) MetricsURL() string { return "http://" + local(s.MetricsListen) }

// local is the address of a listener for clients on this machine.
func local(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if ip := net.ParseIP(host); err == nil && (host == "" || ip != nil && ip.IsUnspecified()) {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return listen
}

const (
	// healthTime is how long a service that says that it is ready may take to
	// answer.
	healthTime = time.Minute
	// requestTime is how long one request may take.
	requestTime = 5 * time.Second
)

// healthy waits until the service answers.
func (s Service) healthy(ctx context.Context) error {
	// Whether it answers is asked, not who it is: its certificate may be for
	// another name than the address of this machine.
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: requestTime}
	url := s.URL() + "/healthz"
	var last error
	err := wait(ctx, healthTime, func() error {
		if last = ask(ctx, client, url); last != nil {
			return errNotYet
		}
		return nil
	})
	if err == nil || last == nil {
		return err
	}
	return errors.Join(fmt.Errorf("%s: %w: %w", url, err, last), journal(ctx))
}

func ask(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, response.Body)
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("it answered %s", response.Status)
	}
	return nil
}
