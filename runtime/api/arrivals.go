package api

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// arrivals answers with text: the format of the request traces. It is made before it
// is sent, so that what cannot be read is an error and not half a record.
func (s *Server) arrivals(w http.ResponseWriter, r *http.Request) {
	q := query{values: r.URL.Query()}
	opts := ArrivalsOptions{Site: q.string("site"), Since: q.time("since"), Until: q.time("until"), Numbered: q.bool("numbered")}
	var text bytes.Buffer
	err := q.done()
	if err == nil {
		err = s.backend.Arrivals(r.Context(), &text, opts)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	rc := http.NewResponseController(w)
	_ = rc.SetWriteDeadline(time.Now().Add(writeTimeout))
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if _, err := w.Write(text.Bytes()); err != nil {
		s.log.Debug("a reader of the arrivals went away", "error", err)
	}
	_ = rc.SetWriteDeadline(time.Time{})
}

// Arrivals writes how many arrivals sites had in which minute; see [Backend.Arrivals].
func (c *Client) Arrivals(ctx context.Context, w io.Writer, opts ArrivalsOptions) error {
	q := url.Values{}
	setString(q, "site", opts.Site)
	for name, at := range map[string]time.Time{"since": opts.Since, "until": opts.Until} {
		if !at.IsZero() {
			q.Set(name, at.UTC().Format(time.RFC3339Nano))
		}
	}
	setBool(q, "numbered", opts.Numbered)
	resp, err := c.do(ctx, http.MethodGet, "/v1/arrivals", q, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(w, resp.Body); err != nil {
		return fmt.Errorf("copy the arrivals: %w", err)
	}
	return nil
}
