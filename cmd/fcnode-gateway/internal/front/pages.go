package front

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

//go:embed pages
var builtIn embed.FS

// pages are what visitors see while a site wakes, and when it does not.
type pages struct {
	waiting, unavailable *template.Template
}

// pageData is what the templates know.
type pageData struct {
	Host   string
	Reload int // seconds
}

// loadPages reads the pages that the folder has, and for others those that are built in.
func loadPages(folder string) (*pages, error) {
	var p pages
	for name, into := range map[string]**template.Template{"waiting.html": &p.waiting, "unavailable.html": &p.unavailable} {
		text, err := builtIn.ReadFile("pages/" + name)
		if err != nil {
			return nil, err
		}
		if folder != "" {
			switch own, err := os.ReadFile(filepath.Join(folder, name)); {
			case err == nil:
				text = own
			case !errors.Is(err, fs.ErrNotExist):
				return nil, fmt.Errorf("read the page: %w", err)
			}
		}
		t, err := template.New(name).Parse(string(text))
		if err == nil { // what a template refers to is only looked for when it is used
			err = t.Execute(new(bytes.Buffer), pageData{})
		}
		if err != nil {
			return nil, fmt.Errorf("the page %s in %s: %w", name, folder, err)
		}
		*into = t
	}
	return &p, nil
}

// answer sends a page with status 503 that nobody keeps. Whoever does not read HTML gets a line of text.
func answer(w http.ResponseWriter, r *http.Request, t *template.Template, retry time.Duration, text string) error {
	seconds := int(math.Ceil(retry.Seconds()))
	h := w.Header()
	h.Set("Retry-After", strconv.Itoa(seconds))
	if !strings.Contains(r.Header.Get("Accept"), "text/html") {
		return plain(w, http.StatusServiceUnavailable, text)
	}
	var page bytes.Buffer
	if err := t.Execute(&page, pageData{Host: r.Host, Reload: seconds}); err != nil {
		return err
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	return refuse(w, http.StatusServiceUnavailable, page.Bytes())
}

// plain sends a refusal as text.
func plain(w http.ResponseWriter, status int, text string) error {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	return refuse(w, status, []byte(text+"\n"))
}

func refuse(w http.ResponseWriter, status int, body []byte) error {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if status != http.StatusNoContent && status != http.StatusNotModified {
		h.Set("Content-Length", strconv.Itoa(len(body)))
	}
	w.WriteHeader(status)
	_, err := w.Write(body)
	return err
}

// navigates says whether a browser asks for a page to show, and not a program or a part of a page.
func navigates(r *http.Request) bool {
	mode := r.Header.Get("Sec-Fetch-Mode")
	return r.Method == http.MethodGet && strings.Contains(r.Header.Get("Accept"), "text/html") &&
		(mode == "" || mode == "navigate") && r.Header.Get("Upgrade") == "" && r.Header.Get("X-Requested-With") == ""
}
