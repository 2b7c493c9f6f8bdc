package cli

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"lofn"
	"lofn/client"
)

// invokeFlags are the flags of `invoke`.
type invokeFlags struct {
	target
	method, contentType string
	headers, query      []string
	async, auth         bool
	signHeader, signKey string
}

func (p *program) invokeCommand() *cobra.Command {
	i := invokeFlags{target: target{p: p}}
	var ignored string
	cmd := &cobra.Command{
		Use:   "invoke NAME[/PATH]",
		Short: "Call a function with standard input, and print its answer",
		Example: `  echo hello | lofn invoke echo
  lofn invoke resize --async -H "X-Callback-Url: http://127.0.0.1:8080/function/next" < image.png
  lofn invoke env/users --method GET --query limit=10
  lofn invoke hook --sign X-Hub-Signature-256 --key s3cret < event.json`,
		Args:              oneFunction,
		ValidArgsFunction: i.completeFunctions,
		RunE:              func(cmd *cobra.Command, args []string) error { return i.run(cmd, args[0]) },
	}
	i.add(cmd)
	flags := cmd.Flags()
	flags.StringVarP(&i.method, "method", "m", http.MethodPost, "GET, POST, PUT, PATCH or DELETE")
	flags.StringVar(&i.contentType, "content-type", "text/plain", "type of the body, such as application/json")
	flags.StringArrayVarP(&i.headers, "header", "H", nil, "header, 'Name: value'; may be repeated")
	flags.StringArrayVar(&i.query, "query", nil, "query parameter, NAME=VALUE; may be repeated")
	flags.BoolVarP(&i.async, "async", "a", false, "queue the call and do not wait for its answer")
	flags.BoolVar(&i.auth, "auth", false, "send the bearer token of --token, or of the login, to the function")
	flags.StringVar(&i.signHeader, "sign", "", "header to put the body's signature (HMAC, SHA-256) into; needs --key")
	flags.StringVar(&i.signKey, "key", "", "key of the signature")
	flags.StringVar(&ignored, "name", "", "")
	_ = flags.MarkHidden("name")
	return cmd
}

func (i *invokeFlags) run(cmd *cobra.Command, name string) error {
	call, err := i.call(cmd, name)
	if err != nil {
		return err
	}
	c, err := i.connect(cmd)
	if err != nil {
		return err
	}
	if err := i.addAuth(call.Header); err != nil {
		return err
	}
	if !i.waitsForNobody() {
		i.p.hintStdin()
		body, err := i.body()
		if err != nil {
			return err
		}
		defer func() { _ = body.Close() }()
		call.Body, call.Length = body, body.length
		if i.signHeader != "" {
			call.Header.Set(i.signHeader, body.signature)
		}
	}
	res, err := c.Invoke(cmd.Context(), call)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	return i.answer(call.Function, res)
}

// call reads everything but the body.
func (i *invokeFlags) call(cmd *cobra.Command, name string) (client.Call, error) {
	name, path, _ := strings.Cut(name, "/")
	if path != "" {
		path = "/" + path
	}
	if (i.signHeader == "") != (i.signKey == "") {
		return client.Call{}, errors.New("signing needs both --sign and --key")
	}
	methods := []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}
	if !slices.Contains(methods, i.method) {
		return client.Call{}, fmt.Errorf("--method: %q is not possible: use one of %s", i.method, strings.Join(methods, ", "))
	}
	ref, err := i.ref(cmd, name)
	if err != nil {
		return client.Call{}, err
	}
	header, err := i.header(cmd)
	if err != nil {
		return client.Call{}, err
	}
	query := url.Values{}
	for _, pair := range i.query {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return client.Call{}, fmt.Errorf("--query: %q must have the form NAME=VALUE", pair)
		}
		query.Add(key, value)
	}
	return client.Call{Function: ref, Path: path, Query: query, Method: i.method, Header: header, Async: i.async}, nil
}

func (i *invokeFlags) header(cmd *cobra.Command) (http.Header, error) {
	header := http.Header{}
	for _, text := range i.headers {
		name, value, err := parseHeader(text)
		if err != nil {
			return nil, err
		}
		header.Add(name, value)
	}
	if header.Get("Content-Type") == "" || cmd.Flags().Changed("content-type") {
		header.Set("Content-Type", i.contentType)
	}
	return header, nil
}

// parseHeader takes "Name: value" and the older "Name=value". A colon counts
// only where the part before it can be a header's name, so that the older form
// may have an address for a value.
func parseHeader(text string) (name, value string, err error) {
	for _, separator := range []string{":", "="} {
		name, value, ok := strings.Cut(text, separator)
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if ok && value != "" && isHeaderName(name) {
			return name, value, nil
		}
	}
	return "", "", fmt.Errorf("--header: %q must have the form 'Name: value'", text)
}

func isHeaderName(name string) bool {
	return name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~") == ""
}

// addAuth sends a token where the user asked for it. Basic credentials are
// those of the control API and never leave for a function.
func (i *invokeFlags) addAuth(header http.Header) error {
	if !i.auth {
		return nil
	}
	config := client.Config{URL: i.p.gateway.url, Token: i.token}
	if i.token == "" {
		if err := i.p.addLogin(&config); err != nil {
			return err
		}
	}
	if config.Token == "" {
		return errors.New("--auth: there is no bearer token to send: give one with --token")
	}
	header.Set("Authorization", "Bearer "+config.Token)
	return nil
}

// callBody is what is sent to the function.
type callBody struct {
	io.Reader
	// length is -1 if unknown.
	length    int64
	signature string
	close     func() error
}

// Close releases what the body took up, and keeps standard input open.
func (b *callBody) Close() error {
	if b.close == nil {
		return nil
	}
	return b.close()
}

// waitsForNobody reports whether reading standard input would only keep a
// person at a terminal waiting: calls to read or delete have no body.
func (i *invokeFlags) waitsForNobody() bool {
	return i.signHeader == "" && isTerminal(i.p.Stdin) && (i.method == http.MethodGet || i.method == http.MethodDelete)
}

// body is standard input, streamed. A signature goes ahead of what it signs, so
// a body that is to be signed waits in a temporary file.
func (i *invokeFlags) body() (*callBody, error) {
	if i.signHeader == "" {
		return &callBody{Reader: i.p.Stdin, length: fileLength(i.p.Stdin)}, nil
	}
	file, err := os.CreateTemp("", "lofn-invoke-*")
	if err != nil {
		return nil, fmt.Errorf("keep the body to sign it: %w", err)
	}
	// The file lives on, nameless, until it is closed.
	_ = os.Remove(file.Name())
	mac := hmac.New(sha256.New, []byte(i.signKey))
	length, err := io.Copy(io.MultiWriter(file, mac), i.p.Stdin)
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("keep the body to sign it: %w", err)
	}
	return &callBody{
		Reader: io.NopCloser(file), length: length, signature: "sha256=" + hex.EncodeToString(mac.Sum(nil)), close: file.Close,
	}, nil
}

// fileLength is what is left to read of a regular file, or -1.
func fileLength(r io.Reader) int64 {
	file, ok := r.(*os.File)
	if !ok {
		return -1
	}
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return -1
	}
	at, err := file.Seek(0, io.SeekCurrent)
	if err != nil {
		return -1
	}
	return info.Size() - at
}

// answer prints what a function said, as it arrives.
func (i *invokeFlags) answer(function lofn.Ref, res *http.Response) error {
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return i.refused(function, res)
	}
	if i.async && res.StatusCode == http.StatusAccepted {
		i.accepted(res.Header.Get(lofn.HeaderCallID))
		return nil
	}
	if n, err := io.Copy(i.p.Stdout, res.Body); err != nil {
		return fmt.Errorf("%s: the answer broke off after %d bytes: %w", display(function), n, err)
	}
	return nil
}

// accepted prints the id of a call that nobody waits for, and says how to ask
// about it.
func (i *invokeFlags) accepted(id string) {
	i.p.notef("Function submitted asynchronously.\n")
	if id != "" {
		i.p.notef("How it goes: lofn queue show %s\n", id)
		i.p.outf("%s\n", id)
	}
}

// refused prints an answer other than success to standard error, and who gave
// it: the function, or the platform in its place.
func (i *invokeFlags) refused(function lofn.Ref, res *http.Response) error {
	who := "function " + display(function)
	if res.Header.Get(lofn.HeaderInternal) != "" {
		who = "the platform, for function " + display(function) + ","
	}
	i.p.notef("lofn: %s answered %d %s", who, res.StatusCode, http.StatusText(res.StatusCode))
	if id := res.Header.Get(lofn.HeaderCallID); id != "" {
		i.p.notef(" (call %s)", id)
	}
	if location := res.Header.Get("Location"); location != "" {
		i.p.notef(" and points to %s", location)
	}
	i.p.notef("\n")
	if n, _ := io.Copy(i.p.Stderr, res.Body); n > 0 {
		i.p.notef("\n")
	}
	return errReported
}
