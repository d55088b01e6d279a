package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"
)

// contentTar is the media type of archives.
const contentTar = "application/x-tar"

// Trailers of an archive: how it ended, as JSON.
const (
	trailerResult = "Fcnode-Result"
	trailerError  = "Fcnode-Error"
	headerBackup  = "Fcnode-Backup" // of a backup, before the archive
)

// archivePatience is for how long a client may send nothing of an archive, or read
// nothing of one.
const archivePatience = 5 * time.Minute

// ArchiveResult says what an archive has, or what was unpacked of it.
type ArchiveResult struct {
	Files int64 `json:"files"`
	Bytes int64 `json:"bytes"`
	// Skipped are what was left out, each with the reason: the first ones of Left.
	Skipped []string `json:"skipped,omitempty"`
	Left    int64    `json:"left,omitempty"`
}

// Archive is a tar archive that a backend is about to write.
type Archive interface {
	// Write writes it; once.
	Write(ctx context.Context, w io.Writer) (ArchiveResult, error)
	Close() error
}

// BackupOptions say how a volume is backed up.
type BackupOptions struct {
	// StillFor bounds the time in which the site's processes do not run; 0: 20 s.
	StillFor time.Duration
}

// SnapshotOptions say how a snapshot is taken.
type SnapshotOptions struct {
	BackupOptions
	// Keep is how many the volume has afterwards at the most: the oldest are removed; 0: all are kept.
	Keep int
}

// Backup says how a volume was copied.
type Backup struct {
	// StillNs is for how long the site's processes did not run.
	StillNs time.Duration `json:"stillNs"`
	// ClonedBytes share their blocks with the volume, CopiedBytes were copied.
	ClonedBytes int64 `json:"clonedBytes"`
	CopiedBytes int64 `json:"copiedBytes"`
	Files       int64 `json:"files"`
	// Left are devices and sockets, which no archive has.
	Left int64 `json:"left,omitempty"`
}

// FilePlace is where files are copied from or to.
type FilePlace struct {
	Site string
	// Volume of the site, which need not run then; empty: in a running replica.
	Volume string
	// Replica to use; the oldest running one when empty.
	Replica string
	// Path in the volume or the replica.
	Path string
}

// WriteOptions say who owns the files that are copied to a place.
type WriteOptions struct {
	// Keep has them keep owners, set-ID bits and extended attributes.
	Keep bool
	// Chown gives all to one owner, "USER[:GROUP]" by name or number; a volume knows no names.
	Chown string
}

func placeOf(r *http.Request, q *query) (p FilePlace, err error) {
	p = FilePlace{Site: r.PathValue("site"), Path: q.string("path")}
	if r.PathValue("volume") != "" {
		p.Site, p.Volume, err = aVolume(r)
	} else {
		p.Replica = q.string("replica")
	}
	if err == nil && (p.Path == "" || p.Path[0] != '/') {
		err = fmt.Errorf("path %q: an absolute path: %w", p.Path, ErrInvalid)
	}
	return p, err
}

func (s *Server) readFiles(w http.ResponseWriter, r *http.Request) {
	q := query{values: r.URL.Query()}
	place, err := placeOf(r, &q)
	if err == nil {
		err = q.done()
	}
	var a Archive
	if err == nil {
		a, err = s.backend.ReadFiles(r.Context(), place)
	}
	s.archive(w, r, a, err)
}

func (s *Server) writeFiles(w http.ResponseWriter, r *http.Request) {
	q := query{values: r.URL.Query()}
	place, err := placeOf(r, &q)
	opts := WriteOptions{Keep: q.bool("keep"), Chown: q.string("chown")}
	if err == nil {
		err = q.done()
	}
	s.upload(w, r, err, func(ctx context.Context, in io.Reader) (ArchiveResult, error) {
		return s.backend.WriteFiles(ctx, place, opts, in)
	})
}

func (s *Server) backUp(w http.ResponseWriter, r *http.Request) {
	q := query{values: r.URL.Query()}
	site, name, err := aVolume(r)
	opts := BackupOptions{StillFor: time.Duration(q.int("stillNs", 0))}
	if err == nil {
		err = q.done()
	}
	if err == nil && opts.StillFor < 0 {
		err = fmt.Errorf("stillNs=%d: no negative time: %w", opts.StillFor, ErrInvalid)
	}
	var a Archive
	if err == nil {
		begin := time.Now()
		var b Backup
		a, b, err = s.backend.BackUp(r.Context(), site, name, opts)
		s.logMutation(r, time.Since(begin), err)
		text, _ := json.Marshal(b) // numbers
		w.Header().Set(headerBackup, string(text))
	}
	s.archive(w, r, a, err)
}

func (s *Server) restoreVolume(w http.ResponseWriter, r *http.Request) {
	q := query{values: r.URL.Query()}
	site, name, err := aVolume(r)
	force := q.bool("force")
	if err == nil {
		err = q.done()
	}
	s.upload(w, r, err, func(ctx context.Context, in io.Reader) (ArchiveResult, error) {
		return s.backend.RestoreVolume(ctx, site, name, force, in)
	})
}

// archive sends one. Its end, good or bad, is in the trailer.
func (s *Server) archive(w http.ResponseWriter, r *http.Request, a Archive, err error) {
	if err != nil {
		w.Header().Del(headerBackup)
		s.fail(w, r, err)
		return
	}
	defer a.Close()
	ctx, cancel := s.untilStop(r.Context())
	defer cancel()
	out := &patientWriter{w: w, rc: http.NewResponseController(w)}
	w.Header().Set("Content-Type", contentTar)
	w.Header().Set("Trailer", trailerResult+", "+trailerError)
	result, err := a.Write(ctx, out)
	if err != nil && s.stopping.Err() != nil {
		err = context.Cause(s.stopping)
	}
	name, last := trailerResult, any(result)
	if err != nil {
		name, last = trailerError, toWire(err)
		s.log.Warn("an archive was broken off", "path", r.URL.Path, peerAttr(r.Context()), "error", err)
	}
	text, marshalErr := json.Marshal(last)
	if marshalErr != nil {
		s.log.Error("encode the end of an archive", "path", r.URL.Path, "error", marshalErr)
		panic(http.ErrAbortHandler) // which the client takes for an error
	}
	w.Header().Set(name, string(text))
	_ = out.rc.SetWriteDeadline(time.Now().Add(writeTimeout))
	_ = out.rc.Flush()
	_ = out.rc.SetWriteDeadline(time.Time{})
}

// upload has the body of a request unpacked.
func (s *Server) upload(w http.ResponseWriter, r *http.Request, err error, unpack func(context.Context, io.Reader) (ArchiveResult, error)) {
	if err != nil {
		s.fail(w, r, err)
		return
	}
	ctx, cancel := s.untilStop(r.Context())
	defer cancel()
	rc := http.NewResponseController(w)
	in := &patientReader{r: r.Body, rc: rc}
	s.mutation(func(*http.Request) (any, error) {
		result, err := unpack(ctx, in)
		if err != nil && s.stopping.Err() != nil {
			err = context.Cause(s.stopping)
		}
		return result, err
	}).ServeHTTP(w, r)
	_ = rc.SetReadDeadline(time.Time{})
}

// patientWriter gives up on a client that reads nothing.
type patientWriter struct {
	w  io.Writer
	rc *http.ResponseController
}

// Write implements io.Writer.
func (p *patientWriter) Write(b []byte) (int, error) {
	if err := p.rc.SetWriteDeadline(time.Now().Add(archivePatience)); err != nil {
		return 0, err
	}
	return p.w.Write(b)
}

// patientReader gives up on a client that sends nothing.
type patientReader struct {
	r  io.Reader
	rc *http.ResponseController
}

// Read implements io.Reader.
func (p *patientReader) Read(b []byte) (int, error) {
	if err := p.rc.SetReadDeadline(time.Now().Add(archivePatience)); err != nil {
		return 0, err
	}
	return p.r.Read(b)
}

func (p FilePlace) url() (path string, q url.Values) {
	q = url.Values{"path": {p.Path}}
	if p.Volume != "" {
		return volumePath(p.Site, p.Volume) + "/tar", q
	}
	setString(q, "replica", p.Replica)
	return sitePath(p.Site, "/tar"), q
}

// ReadFiles writes what lies at a place as a tar archive.
func (c *Client) ReadFiles(ctx context.Context, from FilePlace, w io.Writer) (ArchiveResult, error) {
	path, q := from.url()
	return c.download(ctx, path, q, w, nil)
}

// WriteFiles unpacks a tar archive at a place: in the folder that is there, or else
// under this name in the one above it.
func (c *Client) WriteFiles(ctx context.Context, to FilePlace, opts WriteOptions, r io.Reader) (ArchiveResult, error) {
	path, q := to.url()
	setBool(q, "keep", opts.Keep)
	setString(q, "chown", opts.Chown)
	return c.sendArchive(ctx, path, q, r)
}

// BackUp writes a volume as a tar archive. about is called before the first byte.
func (c *Client) BackUp(ctx context.Context, site, name string, opts BackupOptions, w io.Writer, about func(Backup)) (ArchiveResult, error) {
	q := url.Values{}
	if opts.StillFor > 0 {
		q.Set("stillNs", fmt.Sprint(opts.StillFor.Nanoseconds()))
	}
	return c.download(ctx, volumePath(site, name)+"/backup", q, w, about)
}

// RestoreVolume puts what a tar archive has in the place of a volume; with force the
// site is parked for it.
func (c *Client) RestoreVolume(ctx context.Context, site, name string, force bool, r io.Reader) (ArchiveResult, error) {
	q := url.Values{}
	setBool(q, "force", force)
	return c.sendArchive(ctx, volumePath(site, name)+"/backup", q, r)
}

func (c *Client) download(ctx context.Context, path string, q url.Values, w io.Writer, about func(Backup)) (result ArchiveResult, err error) {
	resp, err := c.do(ctx, http.MethodGet, path, q, nil)
	if err != nil {
		return result, err
	}
	defer resp.Body.Close()
	if about != nil {
		var b Backup
		if err := json.Unmarshal([]byte(resp.Header.Get(headerBackup)), &b); err != nil {
			return result, fmt.Errorf("decode the header %s: %w", headerBackup, err)
		}
		about(b)
	}
	if _, err := io.Copy(&ownErrors{w}, resp.Body); err != nil {
		var own *writeError
		switch {
		case errors.As(err, &own):
			return result, own.err
		case ctx.Err() != nil:
			return result, context.Cause(ctx)
		}
		return result, fmt.Errorf("the archive broke off: %w: %w", ErrUnreachable, err)
	}
	if text := resp.Trailer.Get(trailerError); text != "" {
		failed := new(Error)
		if err := json.Unmarshal([]byte(text), failed); err != nil {
			return result, fmt.Errorf("the archive broke off: %s", text)
		}
		return result, failed
	}
	if err := json.Unmarshal([]byte(resp.Trailer.Get(trailerResult)), &result); err != nil {
		return result, fmt.Errorf("the archive has no end: %w: %w", ErrUnreachable, err)
	}
	return result, nil
}

// ownErrors tells an error of the caller's writer from one of the connection.
type ownErrors struct{ w io.Writer }

type writeError struct{ err error }

func (e *writeError) Error() string { return e.err.Error() }

// Write implements io.Writer.
func (o *ownErrors) Write(b []byte) (int, error) {
	n, err := o.w.Write(b)
	if err != nil {
		err = &writeError{err}
	}
	return n, err
}

// sendArchive sends what r has, on a connection of its own: net/http would go on
// waiting for r, a pipe from elsewhere say, when the daemon has gone.
func (c *Client) sendArchive(ctx context.Context, path string, q url.Values, r io.Reader) (result ArchiveResult, err error) {
	req, err := c.request(ctx, http.MethodPut, path, q, nil)
	if err != nil {
		return result, err
	}
	conn, err := c.dial(ctx)
	if err != nil {
		return result, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	own := &readErrors{r: r}
	resp, err := exchange(conn, req, own)
	switch {
	case own.failed() != nil:
		return result, own.failed()
	case ctx.Err() != nil:
		return result, context.Cause(ctx)
	case err != nil:
		return result, &ConnError{Socket: c.socket, Err: err}
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return result, answerError(resp)
	}
	if err := json.NewDecoder(resp.Body).Decode(&result); err != nil {
		return result, fmt.Errorf("decode the answer to PUT %s: %w", path, err)
	}
	return result, nil
}

// exchange sends a request, and its body when the server asks for that: a call that is
// refused is refused before any of the body is read.
func exchange(conn net.Conn, req *http.Request, body *readErrors) (*http.Response, error) {
	head := "PUT " + req.URL.RequestURI() + " HTTP/1.1\r\nHost: " + req.URL.Host + "\r\nContent-Type: " + contentTar +
		"\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
	if _, err := io.WriteString(conn, head); err != nil {
		return nil, err
	}
	answers := bufio.NewReader(conn)
	resp, err := http.ReadResponse(answers, req)
	if err != nil || resp.StatusCode != http.StatusContinue {
		return resp, err
	}
	go func() { // it ends with the connection, or when body gives something
		out := httputil.NewChunkedWriter(conn)
		_, err := io.Copy(out, body)
		if err == nil {
			err = out.Close()
		}
		if err == nil {
			_, err = io.WriteString(conn, "\r\n")
		}
		if err != nil && body.failed() != nil {
			_ = conn.Close() // the server sees that it is cut off; what else is wrong it says itself
		}
	}()
	return http.ReadResponse(answers, req)
}
