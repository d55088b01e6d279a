package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
	"time"

	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/spec"
)

// Client talks to the node that listens on one socket. It may be used by several
// goroutines at once. Its errors are *[Error] (use errors.Is with the sentinels) where the
// node answered, and *[ConnError] where none did.
type Client struct {
	socket string
	http   *http.Client
}

// NewClient returns a client; it connects when it is first used.
func NewClient(socket string) *Client {
	c := &Client{socket: socket}
	c.http = &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dial(ctx) },
		// Streams are not read ahead, and a compressed unix socket helps nobody.
		DisableCompression: true,
	}}
	return c
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// ConnError says that no daemon could be asked. errors.Is(err, ErrUnreachable) holds.
type ConnError struct {
	Socket string
	Err    error
}

func (e *ConnError) Error() string {
	switch {
	case errors.Is(e.Err, fs.ErrNotExist):
		return fmt.Sprintf("no daemon: there is no socket %s", e.Socket)
	case errors.Is(e.Err, syscall.ECONNREFUSED):
		return fmt.Sprintf("no daemon: nobody listens on %s", e.Socket)
	case errors.Is(e.Err, fs.ErrPermission):
		return fmt.Sprintf("not allowed to use %s", e.Socket)
	default:
		return fmt.Sprintf("the daemon on %s: %v", e.Socket, e.Err)
	}
}

// Hint says what the user can do.
func (e *ConnError) Hint() string {
	if errors.Is(e.Err, fs.ErrPermission) {
		return "become a member of the group fcnode (usermod -aG fcnode USER, then log in again), or use sudo"
	}
	return "start it with `systemctl start fcnode` or `fcnode run`, or name another socket with --socket"
}

// Unwrap gives the cause, and ErrUnreachable.
func (e *ConnError) Unwrap() []error { return []error{ErrUnreachable, e.Err} }

func (c *Client) dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", c.socket)
	if err != nil && ctx.Err() == nil {
		return nil, &ConnError{Socket: c.socket, Err: err}
	}
	return conn, err
}

// Apply creates or updates sites, all or none.
func (c *Client) Apply(ctx context.Context, sites []spec.Site, dryRun bool) ([]ApplyResult, error) {
	var answer applyAnswer
	q := url.Values{}
	setBool(q, "dryRun", dryRun)
	err := c.call(ctx, http.MethodPost, "/v1/sites", q, applyBody{Sites: sites}, &answer)
	return answer.Results, err
}

// Pull has the node pull an image, and yields how far it has come; see [Backend.Pull].
func (c *Client) Pull(ctx context.Context, ref string) iter.Seq2[Pull, error] {
	return readStream[Pull](ctx, c, http.MethodPost, "/v1/images", url.Values{"image": {ref}})
}

// Images returns the images that the node has unpacked, the oldest first.
func (c *Client) Images(ctx context.Context) ([]StoredImage, error) {
	var answer imagesAnswer
	err := c.call(ctx, http.MethodGet, "/v1/images", nil, nil, &answer)
	return answer.Images, err
}

// Image returns one of them, with its layers and how it is run.
func (c *Client) Image(ctx context.Context, digest string) (StoredImage, error) {
	var image StoredImage
	err := c.call(ctx, http.MethodGet, "/v1/images/"+url.PathEscape(digest), nil, nil, &image)
	return image, err
}

// RemoveImage removes one that is not used.
func (c *Client) RemoveImage(ctx context.Context, digest string) error {
	return c.call(ctx, http.MethodDelete, "/v1/images/"+url.PathEscape(digest), nil, nil, nil)
}

// PruneImages removes all that are not used; see [Backend.PruneImages].
func (c *Client) PruneImages(ctx context.Context) (Pruned, error) {
	var pruned Pruned
	err := c.call(ctx, http.MethodPost, "/v1/images/prune", nil, nil, &pruned)
	return pruned, err
}

// SpecFile returns the text of a site's spec; see [Backend.SpecFile].
func (c *Client) SpecFile(ctx context.Context, name string) (SpecFile, error) {
	var file SpecFile
	err := c.call(ctx, http.MethodGet, sitePath(name, "/file"), nil, nil, &file)
	return file, err
}

// WriteSpec writes the text of a site's spec and applies it; see [Backend.WriteSpec].
func (c *Client) WriteSpec(ctx context.Context, name string, file SpecFile, dryRun bool) ([]ApplyResult, error) {
	var answer applyAnswer
	q := url.Values{}
	setBool(q, "dryRun", dryRun)
	err := c.call(ctx, http.MethodPut, sitePath(name, "/file"), q, file, &answer)
	return answer.Results, err
}

// Rollback makes a site what it was; see [Backend.Rollback].
func (c *Client) Rollback(ctx context.Context, name string, revision uint64, dryRun bool) ([]ApplyResult, error) {
	var answer applyAnswer
	q := url.Values{}
	setBool(q, "dryRun", dryRun)
	if revision > 0 {
		q.Set("revision", strconv.FormatUint(revision, 10))
	}
	err := c.call(ctx, http.MethodPost, sitePath(name, "/rollback"), q, nil, &answer)
	return answer.Results, err
}

// Reload has the daemon apply its folder of specs anew, with force however many
// sites are in it no more.
func (c *Client) Reload(ctx context.Context, force bool) error {
	q := url.Values{}
	setBool(q, "force", force)
	return c.call(ctx, http.MethodPost, "/v1/reload", q, nil, nil)
}

// Delete stops and removes a site.
func (c *Client) Delete(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodDelete, sitePath(name, ""), nil, nil, nil)
}

// Purge does so, and removes the volumes that the node keeps for the site.
func (c *Client) Purge(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodDelete, sitePath(name, ""), url.Values{"purge": {"true"}}, nil, nil)
}

// Volumes returns the volumes that the node keeps for a site, or for all ("").
func (c *Client) Volumes(ctx context.Context, site string) ([]Volume, error) {
	var answer volumesAnswer
	q := url.Values{}
	if site != "" {
		q.Set("site", site)
	}
	err := c.call(ctx, http.MethodGet, "/v1/volumes", q, nil, &answer)
	return answer.Volumes, err
}

// Volume returns one of them, with what is in it.
func (c *Client) Volume(ctx context.Context, site, name string) (Volume, error) {
	var v Volume
	err := c.call(ctx, http.MethodGet, volumePath(site, name), nil, nil, &v)
	return v, err
}

// RemoveVolume removes one that no site has.
func (c *Client) RemoveVolume(ctx context.Context, site, name string) error {
	return c.call(ctx, http.MethodDelete, volumePath(site, name), nil, nil, nil)
}

func volumePath(site, name string) string {
	return "/v1/volumes/" + url.PathEscape(site) + "/" + url.PathEscape(name)
}

// List returns all sites, without their specs.
func (c *Client) List(ctx context.Context) ([]Site, error) {
	var answer listAnswer
	err := c.call(ctx, http.MethodGet, "/v1/sites", nil, nil, &answer)
	return answer.Sites, err
}

// Awake returns the sites of which something runs or stands ready.
func (c *Client) Awake(ctx context.Context) ([]Site, error) {
	var answer listAnswer
	err := c.call(ctx, http.MethodGet, "/v1/sites", url.Values{"awake": {"true"}}, nil, &answer)
	return answer.Sites, err
}

// Get returns one site with its spec.
func (c *Client) Get(ctx context.Context, name string) (Site, error) {
	var site Site
	err := c.call(ctx, http.MethodGet, sitePath(name, ""), nil, nil, &site)
	return site, err
}

// Wake wakes a site and waits until it runs.
func (c *Client) Wake(ctx context.Context, name string) (Site, error) {
	var site Site
	err := c.call(ctx, http.MethodPost, sitePath(name, "/wake"), nil, nil, &site)
	return site, err
}

// Park parks a site, with force even when it has connections, and waits for it.
func (c *Client) Park(ctx context.Context, name string, force bool) (Site, error) {
	var site Site
	q := url.Values{}
	setBool(q, "force", force)
	err := c.call(ctx, http.MethodPost, sitePath(name, "/park"), q, nil, &site)
	return site, err
}

// Circulate begins to replace a site's replicas by fresh ones.
func (c *Client) Circulate(ctx context.Context, name string) (Site, error) {
	var site Site
	err := c.call(ctx, http.MethodPost, sitePath(name, "/circulate"), nil, nil, &site)
	return site, err
}

// RenewImage does so by fresh ones of the image that the spec's reference means now.
func (c *Client) RenewImage(ctx context.Context, name string) (Site, error) {
	var site Site
	err := c.call(ctx, http.MethodPost, sitePath(name, "/circulate"), url.Values{"newImage": {"true"}}, nil, &site)
	return site, err
}

// Traces returns a site's last wakes, the newest first.
func (c *Client) Traces(ctx context.Context, name string, n int) ([]event.Trace, error) {
	var answer tracesAnswer
	q := url.Values{"n": {strconv.Itoa(n)}}
	err := c.call(ctx, http.MethodGet, sitePath(name, "/traces"), q, nil, &answer)
	return answer.Traces, err
}

// Info describes the node.
func (c *Client) Info(ctx context.Context) (NodeInfo, error) {
	var info NodeInfo
	err := c.call(ctx, http.MethodGet, "/v1/info", nil, nil, &info)
	return info, err
}

// Metrics writes what the node counts, in the text format of Prometheus.
func (c *Client) Metrics(ctx context.Context, w io.Writer) error {
	return c.text(ctx, "/metrics", w)
}

// State writes what the node keeps of its sites. What was cut off its checksum tells.
func (c *Client) State(ctx context.Context, w io.Writer) error {
	return c.text(ctx, "/v1/state", w)
}

func (c *Client) text(ctx context.Context, path string, w io.Writer) error {
	resp, err := c.do(ctx, http.MethodGet, path, nil, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(w, resp.Body); err != nil {
		return fmt.Errorf("copy %s: %w", path, err)
	}
	return nil
}

// Events yields the event log; see [Backend.Events]. A context that ends is yielded as
// its error.
func (c *Client) Events(ctx context.Context, opts event.Query) iter.Seq2[event.Event, error] {
	q := url.Values{}
	if opts.Since > 0 {
		q.Set("since", strconv.FormatUint(opts.Since, 10))
	}
	if opts.Last > 0 {
		q.Set("last", strconv.Itoa(opts.Last))
	}
	setString(q, "site", opts.Site)
	setBool(q, "follow", opts.Follow)
	return readStream[event.Event](ctx, c, http.MethodGet, "/v1/events", q)
}

// Logs yields a site's output; see [Backend.Logs].
func (c *Client) Logs(ctx context.Context, name string, opts LogOptions) iter.Seq2[LogLine, error] {
	q := url.Values{}
	if opts.Tail >= 0 {
		q.Set("tail", strconv.Itoa(opts.Tail))
	}
	if !opts.Since.IsZero() {
		q.Set("since", opts.Since.UTC().Format(time.RFC3339Nano))
	}
	setString(q, "replica", opts.Replica)
	setBool(q, "follow", opts.Follow)
	return readStream[LogLine](ctx, c, http.MethodGet, sitePath(name, "/logs"), q)
}

func readStream[T any](ctx context.Context, c *Client, method, path string, q url.Values) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		resp, err := c.do(ctx, method, path, q, nil)
		if err != nil {
			yield(zero, err)
			return
		}
		defer resp.Body.Close()
		dec := json.NewDecoder(resp.Body)
		for {
			var raw json.RawMessage
			err := dec.Decode(&raw)
			if errors.Is(err, io.EOF) {
				return
			}
			value, err := decodeLine[T](raw, err)
			if err != nil && ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			if !yield(value, err) || err != nil {
				return
			}
		}
	}
}

func decodeLine[T any](raw json.RawMessage, err error) (value T, _ error) {
	if err != nil {
		return value, fmt.Errorf("the stream broke off: %w: %w", ErrUnreachable, err)
	}
	var failed errorBody
	if err := json.Unmarshal(raw, &failed); err == nil && failed.Error != nil {
		return value, failed.Error
	}
	if err := json.Unmarshal(raw, &value); err != nil {
		return value, fmt.Errorf("decode a line of the stream: %w", err)
	}
	return value, nil
}

// call makes one call and decodes its answer.
func (c *Client) call(ctx context.Context, method, path string, q url.Values, body, answer any) error {
	resp, err := c.do(ctx, method, path, q, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if answer == nil {
		_, err := io.Copy(io.Discard, resp.Body)
		return err
	}
	if err := json.NewDecoder(resp.Body).Decode(answer); err != nil {
		return fmt.Errorf("decode the answer to %s %s: %w", method, path, err)
	}
	return nil
}

// do returns a good answer, or the error that the answer is.
func (c *Client) do(ctx context.Context, method, path string, q url.Values, body any) (*http.Response, error) {
	req, err := c.request(ctx, method, path, q, body)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.transportError(ctx, err)
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		return nil, answerError(resp)
	}
	return resp, nil
}

func (c *Client) request(ctx context.Context, method, path string, q url.Values, body any) (*http.Request, error) {
	var r io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("encode the request: %w", err)
		}
		r = bytes.NewReader(text)
	}
	// The host is not looked up; HTTP wants one.
	u := "http://fcnode" + path
	if len(q) > 0 {
		u += "?" + q.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, u, r)
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, nil
}

func (c *Client) transportError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var conn *ConnError
	if errors.As(err, &conn) {
		return conn
	}
	var urlErr *url.Error
	if errors.As(err, &urlErr) {
		err = urlErr.Err // without method and made-up URL
	}
	return &ConnError{Socket: c.socket, Err: err}
}

// maxErrorText is how much of an answer that is not the API's own is shown.
const maxErrorText = 512

func answerError(resp *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxSmallBody))
	if err != nil {
		return fmt.Errorf("read the answer (%s): %w", resp.Status, err)
	}
	var body errorBody
	if err := json.Unmarshal(text, &body); err != nil || body.Error == nil {
		return &Error{Code: CodeInternal, Message: fmt.Sprintf("unexpected answer %s: %.*q", resp.Status, maxErrorText, text)}
	}
	return body.Error
}

// sitePath is the path of a site's call; rest begins with a slash or is empty.
func sitePath(name, rest string) string { return "/v1/sites/" + url.PathEscape(name) + rest }

func setBool(q url.Values, name string, v bool) {
	if v {
		q.Set(name, "true")
	}
}

func setString(q url.Values, name, v string) {
	if v != "" {
		q.Set(name, v)
	}
}
