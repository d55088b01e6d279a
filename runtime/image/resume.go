package image

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// resumes bounds how often one download is taken up again without a byte of progress.
const resumes = 5

// mostResumes bounds them in all.
const mostResumes = 100

// stalled is for how long a download may bring nothing before it is cut, and gone on
// with.
const stalled = time.Minute

// resumePause is what the pause before an attempt grows by.
const resumePause = 200 * time.Millisecond

// resuming goes on with downloads that were cut, at the byte where they were (RFC
// 9110, 14.2). Registries and what stands before them end long ones by the dozen.
type resuming struct{ http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (t *resuming) RoundTrip(req *http.Request) (*http.Response, error) {
	answer, err := t.RoundTripper.RoundTrip(req)
	if err != nil || req.Method != http.MethodGet || answer.StatusCode != http.StatusOK || answer.ContentLength <= 0 || answer.Uncompressed {
		return answer, err
	}
	answer.Body = &download{ReadCloser: answer.Body, t: t.RoundTripper, req: req, size: answer.ContentLength}
	return answer, nil
}

// download is the body of an answer.
type download struct {
	io.ReadCloser
	t     http.RoundTripper
	req   *http.Request
	size  int64
	at    int64
	tries int   // to go on, since the last byte
	all   int   // of them
	last  error // of the last one
}

// Read implements [io.Reader].
func (d *download) Read(p []byte) (int, error) {
	for {
		body := d.ReadCloser
		cut := time.AfterFunc(stalled, func() { _ = body.Close() }) // which ends the reading
		n, err := body.Read(p)
		cut.Stop()
		d.at += int64(n)
		if n > 0 {
			d.tries = 0
			if err != nil && d.at < d.size {
				err = nil // the next call meets it again
			}
			return n, err
		}
		if err == nil || d.at >= d.size || d.req.Context().Err() != nil {
			return n, err
		}
		if d.tries == resumes || d.all == mostResumes {
			return 0, fmt.Errorf("the download ended after %d of %d bytes, and %d attempts to go on with it failed: %w", d.at, d.size, d.all, cmp.Or(d.last, ended(err)))
		}
		d.last = d.again(d.tries)
		d.tries++
		d.all++
	}
}

// ended says of a download that it has ended too early.
func ended(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// again asks for the rest, after a pause that grows with the attempts. If it fails
// the body is as it was.
func (d *download) again(tries int) error {
	select {
	case <-time.After(time.Duration(tries) * resumePause):
	case <-d.req.Context().Done():
		return context.Cause(d.req.Context())
	}
	req := d.req.Clone(d.req.Context())
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-", d.at))
	answer, err := d.t.RoundTrip(req)
	if err != nil {
		return err
	}
	skip := int64(0)
	switch answer.StatusCode {
	case http.StatusPartialContent:
	case http.StatusOK: // a server that knows no ranges begins anew
		skip = d.at
	default:
		return errors.Join(errors.New(answer.Status), answer.Body.Close())
	}
	if _, err := io.CopyN(io.Discard, answer.Body, skip); err != nil {
		return errors.Join(err, answer.Body.Close())
	}
	_ = d.Close() // it has ended
	d.ReadCloser = answer.Body
	return nil
}
