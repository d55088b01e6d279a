package routes

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"
)

const (
	// retryMin and retryMax bound the pause between two tries to reach the daemon.
	retryMin = 50 * time.Millisecond
	retryMax = 2 * time.Second
	// saveAfter is how long changes are collected before the routes go to disk.
	saveAfter = time.Second
	// maxLine is the longest line of the feed: a site with many names.
	maxLine = 4 << 20
)

// Feed keeps a table as the daemon tells it.
type Feed struct {
	Socket string // of the daemon
	File   string // with the last known routes
	Table  *Table
	Log    *slog.Logger
	// Changed is called after the table has changed.
	Changed func()
}

// Load fills the table with the routes that were known last, if there are any. A file that cannot be read is told and left.
func (f *Feed) Load() {
	file, err := os.Open(f.File)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		defer file.Close()
		err = f.read(file, func(*Update) {})
	}
	if err != nil && !errors.Is(err, io.EOF) {
		f.Log.Warn("the last known routes cannot be read; waiting for the daemon", "file", f.File, "error", err)
	}
}

// Follow keeps the table current until the context ends. While the daemon is away the table stays.
func (f *Feed) Follow(ctx context.Context) {
	pause := retryMin
	told := false
	for ctx.Err() == nil {
		synced, err := f.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		if synced {
			pause, told = retryMin, false
		}
		if !told {
			f.Log.Warn("the daemon cannot be followed; serving the last known routes", "socket", f.Socket, "error", err)
			told = true
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, retryMax)
	}
}

// follow reads one feed to its end, and says whether it brought all routes.
func (f *Feed) follow(ctx context.Context) (synced bool, err error) {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", f.Socket)
		},
		DisableCompression: true,
	}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://fcnode/v1/routes?follow=true", nil)
	if err != nil {
		return false, err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return false, fmt.Errorf("the daemon answers %s", resp.Status)
	}
	save := newSaver(f)
	defer save.close()
	err = f.read(resp.Body, func(u *Update) {
		if u.Synced {
			synced = true
			f.Log.Info("routes are current", "sites", len(f.Table.Sites()))
		}
		if synced {
			save.later()
		}
	})
	return synced, err
}

// read applies a feed to the table: what comes before synced replaces it in one step, what comes later one by one. It
// returns at the end of the feed, with io.EOF where it ended cleanly.
func (f *Feed) read(r io.Reader, each func(*Update)) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	var first []Route
	synced, version := false, false
	for lines.Scan() {
		var u Update
		if err := json.Unmarshal(lines.Bytes(), &u); err != nil {
			return fmt.Errorf("a line of the routes: %w", err)
		}
		switch {
		case u.Error != nil:
			return fmt.Errorf("the daemon says: %s", u.Error.Message)
		case !version && u.Version != Version:
			return fmt.Errorf("the routes are of version %d, this gateway reads %d: install both of one release", u.Version, Version)
		case u.Version != 0:
			version = true
		case u.Synced:
			f.Table.Replace(first)
			synced, first = true, nil
		case u.Route != nil && !synced:
			first = append(first, *u.Route)
		case u.Route != nil:
			f.Table.Put(*u.Route)
		case u.Gone != "":
			f.Table.Remove(u.Gone)
		}
		if synced && f.Changed != nil {
			f.Changed()
		}
		each(&u)
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return io.EOF
}

// saver writes the routes to disk some time after the first of several changes.
type saver struct {
	feed  *Feed
	news  chan struct{}
	done  chan struct{}
	ended chan struct{}
}

func newSaver(f *Feed) *saver {
	s := &saver{feed: f, news: make(chan struct{}, 1), done: make(chan struct{}), ended: make(chan struct{})}
	go s.run()
	return s
}

func (s *saver) later() {
	select {
	case s.news <- struct{}{}:
	default:
	}
}

// close saves what is not saved yet.
func (s *saver) close() {
	close(s.done)
	<-s.ended
}

func (s *saver) run() {
	defer close(s.ended)
	for {
		select {
		case <-s.news:
		case <-s.done:
			select {
			case <-s.news:
				s.feed.save()
			default:
			}
			return
		}
		select {
		case <-time.After(saveAfter):
		case <-s.done:
		}
		s.feed.save()
	}
}

func (f *Feed) save() {
	if err := f.write(); err != nil {
		f.Log.Error("the routes are not on disk: a gateway that starts while the daemon is away would not know them", "error", err)
	}
}

// write replaces the file in one step, in the form of the feed.
func (f *Feed) write() error {
	// Of one name, so that a gateway that is killed now and again leaves one such file, which the next takes.
	tmp, err := os.OpenFile(f.File+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("save the routes: %w", err)
	}
	defer os.Remove(tmp.Name())
	out := bufio.NewWriter(tmp)
	enc := json.NewEncoder(out)
	err = enc.Encode(Update{Version: Version})
	for _, s := range f.Table.Sites() {
		err = errors.Join(err, enc.Encode(Update{Route: &s.Route}))
	}
	err = errors.Join(err, enc.Encode(Update{Synced: true}), out.Flush(), tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), f.File)
	}
	if err != nil {
		return fmt.Errorf("save the routes in %s: %w", f.File, err)
	}
	return nil
}
