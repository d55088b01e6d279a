package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"time"

	"github.com/fcnode/fcnode/runtime/demo/stage"
)

// Who owns the blog, and what it says.
const (
	owner    = "editor"
	password = "correct horse battery staple"
	title    = "A fast container for every site"
	text     = "Written through the REST API; read after each sleep."
	theme    = "twentytwentythree"
)

// blog is a WordPress as its visitors and its owner see it: over HTTP.
type blog struct {
	domain string
	addr   string // where it is served
	dial   func(ctx context.Context, network, addr string) (net.Conn, error)
	// timeout of one request.
	timeout time.Duration

	owner *http.Client // logged in
	nonce string

	articlePath, pictureURL string
	picture                 []byte
}

// newBlog is the WordPress of a domain at an address of the stage, asked from outside.
func newBlog(s *stage.Stage, domain, addr string, timeout time.Duration) *blog {
	b := &blog{domain: domain, addr: net.JoinHostPort(addr, "80"), timeout: timeout}
	b.dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return s.Client.Dial(ctx, network, b.addr)
	}
	return b
}

// client makes one whose requests have a connection each and are not led
// anywhere else.
func (b *blog) client(jar http.CookieJar) *http.Client {
	return &http.Client{
		Transport:     &http.Transport{DialContext: b.dial, DisableKeepAlives: true},
		Jar:           jar,
		Timeout:       b.timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
	first  time.Duration // until it began
	took   time.Duration
}

func (a answer) String() string {
	return fmt.Sprintf("%d %s: %.600s", a.status, http.StatusText(a.status), a.body)
}

func (b *blog) do(ctx context.Context, c *http.Client, method, path string, header http.Header, body []byte) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+b.domain+path, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	for k, v := range header {
		req.Header[k] = v
	}
	begin := time.Now()
	resp, err := c.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	a := answer{status: resp.StatusCode, header: resp.Header, first: time.Since(begin)}
	if a.body, err = io.ReadAll(resp.Body); err != nil {
		return answer{}, fmt.Errorf("%s %s: the answer broke off after %d bytes: %w", method, path, len(a.body), err)
	}
	a.took = time.Since(begin)
	return a, nil
}

// get asks for a page as a visitor.
func (b *blog) get(ctx context.Context, path string) (answer, error) {
	a, err := b.do(ctx, b.client(nil), http.MethodGet, path, nil, nil)
	if err == nil && a.status != http.StatusOK {
		err = fmt.Errorf("GET http://%s%s: %s", b.domain, path, a)
	}
	return a, err
}

// submit sends a form.
func (b *blog) submit(ctx context.Context, c *http.Client, path string, fields map[string]string) (answer, error) {
	form := url.Values{}
	for k, v := range fields {
		form.Set(k, v)
	}
	return b.do(ctx, c, http.MethodPost, path, http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, []byte(form.Encode()))
}

// install is the form that a new WordPress begins with.
func (b *blog) install(ctx context.Context) error {
	a, err := b.submit(ctx, b.client(nil), "/wp-admin/install.php?step=2", map[string]string{
		"weblog_title": "fcnode", "user_name": owner, "admin_password": password, "admin_password2": password,
		"admin_email": "editor@" + b.domain, "blog_public": "0", "Submit": "Install WordPress",
	})
	if err == nil && (a.status != http.StatusOK || !bytes.Contains(a.body, []byte("Success!"))) {
		err = fmt.Errorf("the form of installation answers %s", a)
	}
	return err
}

// isNew tells whether it waits to be installed.
func (b *blog) isNew(ctx context.Context) (bool, error) {
	a, err := b.do(ctx, b.client(nil), http.MethodGet, "/", nil, nil)
	return err == nil && a.status == http.StatusFound && strings.HasSuffix(a.header.Get("Location"), "/wp-admin/install.php"), err
}

// login logs the owner in and gets what WordPress wants with each request to its API.
func (b *blog) login(ctx context.Context) error {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return err
	}
	b.owner = b.client(jar)
	if _, err := b.do(ctx, b.owner, http.MethodGet, "/wp-login.php", nil, nil); err != nil { // sets the cookie that it looks for
		return err
	}
	a, err := b.submit(ctx, b.owner, "/wp-login.php", map[string]string{"log": owner, "pwd": password, "testcookie": "1"})
	if err != nil {
		return err
	}
	if a.status != http.StatusFound {
		return fmt.Errorf("log %s in: %s", owner, a)
	}
	a, err = b.do(ctx, b.owner, http.MethodGet, "/wp-admin/admin-ajax.php?action=rest-nonce", nil, nil)
	if err == nil && a.status != http.StatusOK {
		err = fmt.Errorf("ask for a nonce: %s", a)
	}
	b.nonce = string(a.body)
	return err
}

// api posts to the REST API and decodes what was made.
func (b *blog) api(ctx context.Context, route string, header http.Header, body []byte, made any) error {
	header.Set("X-Wp-Nonce", b.nonce)
	a, err := b.do(ctx, b.owner, http.MethodPost, "/index.php?rest_route=/wp/v2/"+route, header, body)
	if err == nil && a.status != http.StatusCreated {
		err = fmt.Errorf("the API answers %s", a)
	}
	if err == nil {
		err = json.Unmarshal(a.body, made)
	}
	if err != nil {
		return fmt.Errorf("post to %s of the REST API: %w", route, err)
	}
	return nil
}

// publish uploads a picture and posts an article with it.
func (b *blog) publish(ctx context.Context) (err error) {
	if b.picture, err = sunset(); err != nil {
		return err
	}
	var media struct {
		ID      int    `json:"id"`
		Source  string `json:"source_url"`
		Details struct {
			Sizes map[string]any `json:"sizes"`
		} `json:"media_details"`
	}
	header := http.Header{"Content-Type": {"image/png"}, "Content-Disposition": {`attachment; filename="sunset.png"`}}
	if err := b.api(ctx, "media", header, b.picture, &media); err != nil {
		return err
	}
	if media.Details.Sizes["thumbnail"] == nil {
		return fmt.Errorf("WordPress has made no thumbnail of the picture, but %v", media.Details.Sizes)
	}
	b.pictureURL = media.Source
	body, err := json.Marshal(map[string]any{
		"title": title, "content": "<p>" + text + `</p><img src="` + media.Source + `" alt="a sunset">`, "status": "publish", "featured_media": media.ID,
	})
	if err != nil {
		return err
	}
	var post struct {
		ID   int    `json:"id"`
		Link string `json:"link"`
	}
	if err := b.api(ctx, "posts", http.Header{"Content-Type": {"application/json"}}, body, &post); err != nil {
		return err
	}
	b.articlePath, err = b.path(post.Link)
	return err
}

// path is that of one of the blog's own addresses.
func (b *blog) path(link string) (string, error) {
	u, err := url.Parse(link)
	if err == nil && u.Host != b.domain {
		err = fmt.Errorf("%s is not of the blog %s", link, b.domain)
	}
	if err != nil {
		return "", err
	}
	return u.RequestURI(), nil
}

// read asks for the article: rendered by the theme, with its words and its picture.
func (b *blog) read(ctx context.Context) (answer, error) {
	a, err := b.get(ctx, b.articlePath)
	if err != nil {
		return a, err
	}
	for _, want := range []string{"<title>" + title, text, b.pictureURL, theme, "</html>"} {
		if !bytes.Contains(a.body, []byte(want)) {
			return a, fmt.Errorf("the article at %s lacks %q: %s", b.articlePath, want, a)
		}
	}
	return a, nil
}

// look asks for the picture, which must be the one that was uploaded.
func (b *blog) look(ctx context.Context) error {
	path, err := b.path(b.pictureURL)
	if err != nil {
		return err
	}
	a, err := b.get(ctx, path)
	if err == nil && !bytes.Equal(a.body, b.picture) {
		err = fmt.Errorf("the picture at %s has %d bytes, and is not the one that was uploaded, of %d", path, len(a.body), len(b.picture))
	}
	return err
}

// sunset paints a picture that is large enough to get a thumbnail.
func sunset() ([]byte, error) {
	const width, height = 640, 360
	m := image.NewRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			c := color.RGBA{uint8(255 - y/3), uint8(160 - y/3), uint8(40 + y/2), 255}
			if dx, dy := x-width/2, y-height*2/3; dx*dx+dy*dy < 60*60 {
				c = color.RGBA{255, 220, 90, 255}
			}
			m.SetRGBA(x, y, c)
		}
	}
	var buf bytes.Buffer
	err := png.Encode(&buf, m)
	return buf.Bytes(), err
}
