package e2e

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// The guest is the site that runs in the containers of these tests: this binary, linked statically, told by its
// environment what to be.
//
//	GUEST    serve; exit (ends at once with code 3); deaf (never listens); cat (copies
//	         its input to its output, writes "the end" to its error output and ends with code 42);
//	         grab (does what it can to keep its streams, and to change what is behind them)
//	LISTEN   what it listens on, in order: "tcp4/:80 tcp6/[::]:80 udp/:53" (default tcp/:80)
//	STUBBORN 1: SIGTERM does not end it
//	START    how long it takes until it listens
//	BACK     and from then until what is behind it is up: see back_test.go
//
//	GET /             who asked whom: see greeting
//	GET /headers      what is in the header of the request, a line each
//	GET /bytes?n=N    N bytes
//	POST /sum         how many bytes came, and their SHA-256
//	GET /hold         begins an answer, and ends it when the visitor goes away
//	GET /pause?d=D    answers, stops listening on TCP, and listens again after D
//	GET /listen?on=…  listens on one more of LISTEN's kind
//	GET /print?out=…&err=…  prints lines
//	GET /fetch?url=…  visits another and answers with what it got
//	GET /dial?to=…    says whether it can connect to somebody
//	POST /file?path=… writes a file; GET reads it
//	POST /fill?path=… writes a file until nothing can be written, and goes on trying
//	POST /project?path=… tries to give a file to another project: see disk_test.go
//	GET /exhaust?what=…  takes all there is of a table of the kernel, and keeps it
//	GET /sockets?more=…  tries all unix sockets that it can find, and one more, and says which answer
//	GET /env?name=…   says what a variable of its environment is
//	GET /exit?code=N  ends the process
//
// UDP ports answer each datagram with "echo " and itself.
const envGuest = "GUEST"

func guestMain() int {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	if os.Getenv("STUBBORN") == "1" {
		stop = make(chan os.Signal)
	}
	if len(os.Args) == 2 && os.Args[1] == isBack {
		if _, err := os.Stat(backFile); err != nil {
			fmt.Println(err)
			return 1
		}
		return 0
	}
	if len(os.Args) == 2 && os.Args[1] == "says" {
		fmt.Println("it says this")
		return 7
	}
	switch os.Getenv(envGuest) {
	case "exit":
		return 3
	case "cat":
		if _, err := io.Copy(os.Stdout, os.Stdin); err != nil {
			return 1
		}
		fmt.Fprintln(os.Stderr, "the end")
		return 42
	case "grab":
		return grab()
	case "deaf":
		<-stop
		return 0
	}
	if d, err := time.ParseDuration(os.Getenv("START")); err == nil {
		<-time.After(d)
	}
	g := newGuest()
	listen := os.Getenv("LISTEN")
	if listen == "" {
		listen = "tcp/:80"
	}
	for on := range strings.FieldsSeq(listen) {
		if err := g.listen(on); err != nil {
			fmt.Fprintln(os.Stderr, "guest:", err)
			return 1
		}
	}
	fmt.Println("listening on", listen)
	<-stop
	// What is under way is answered before the end; how long it may take is for stop.grace to say.
	if err := g.http.Shutdown(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "guest:", err)
	}
	return 0
}

// grab attacks whoever has executed it by the streams that it was given. It leaves a process
// that reads and writes them for ever.
func grab() int {
	for fd := range 3 {
		_ = syscall.Fchown(fd, 0, 0)
		_ = syscall.Fchmod(fd, 0o4777)
		if f, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", fd), os.O_RDWR|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0); err == nil {
			_, _ = f.WriteAt([]byte("grabbed"), 0)
		}
		for _, c := range []byte("typed\n") {
			_, _, _ = syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), syscall.TIOCSTI, uintptr(unsafe.Pointer(&c)))
		}
	}
	stays := exec.Command("/site")
	stays.Env = []string{envGuest + "=cat"}
	stays.Stdin, stays.Stdout, stays.Stderr = os.Stdin, os.Stdout, os.Stderr
	stays.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := stays.Start(); err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("grabbed")
	return 0
}

type guest struct {
	http *http.Server

	mu        sync.Mutex
	listeners []net.Listener
}

// pause stops listening for a while.
func (g *guest) pause(w http.ResponseWriter, r *http.Request) {
	d, err := time.ParseDuration(r.FormValue("d"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	g.mu.Lock()
	listeners := g.listeners
	g.listeners = nil
	g.mu.Unlock()
	for _, l := range listeners {
		_ = l.Close()
	}
	time.AfterFunc(d, func() {
		for _, l := range listeners {
			if err := g.listen(l.Addr().Network() + "/" + l.Addr().String()); err != nil {
				fmt.Fprintln(os.Stderr, "guest:", err)
			}
		}
	})
}

func newGuest() *guest {
	g := &guest{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", greet)
	mux.HandleFunc("GET /headers", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "Host: %s\r\n", r.Host)
		_ = r.Header.Write(w) // the test sees what is missing
	})
	mux.HandleFunc("GET /bytes", sendBytes)
	mux.HandleFunc("POST /sum", sum)
	mux.HandleFunc("GET /hold", hold)
	mux.HandleFunc("GET /listen", func(w http.ResponseWriter, r *http.Request) {
		if err := g.listen(r.FormValue("on")); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	})
	mux.HandleFunc("GET /pause", g.pause)
	mux.HandleFunc("GET /print", func(_ http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(os.Stdout, r.FormValue("out"))
		fmt.Fprintln(os.Stderr, r.FormValue("err"))
	})
	mux.HandleFunc("GET /fetch", fetch)
	mux.HandleFunc("GET /dial", dial)
	mux.HandleFunc("POST /file", writeFile)
	scaleGuest(mux)
	diskGuest(mux)
	backGuest(mux)
	busyGuest(mux)
	floodGuest(mux)
	mux.HandleFunc("GET /exhaust", exhaust)
	mux.HandleFunc("GET /file", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, r.FormValue("path")) })
	mux.HandleFunc("GET /sockets", sockets)
	mux.HandleFunc("GET /env", func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, os.Getenv(r.FormValue("name"))) })
	mux.HandleFunc("GET /exit", func(_ http.ResponseWriter, r *http.Request) {
		code, _ := strconv.Atoi(r.FormValue("code")) // 0 when there is none
		os.Exit(code)
	})
	g.http = &http.Server{Handler: hangs(mux)} //nolint:gosec // its visitors are the tests
	return g
}

func (g *guest) listen(on string) error {
	network, addr, ok := strings.Cut(on, "/")
	if !ok {
		return fmt.Errorf("LISTEN %q is not network/address", on)
	}
	if strings.HasPrefix(network, "udp") {
		c, err := net.ListenPacket(network, addr)
		if err == nil {
			go echo(c)
		}
		return err
	}
	l, err := net.Listen(network, addr)
	if err == nil {
		g.mu.Lock()
		g.listeners = append(g.listeners, l)
		g.mu.Unlock()
		go g.http.Serve(l) //nolint:errcheck // until the process ends
	}
	return err
}

func echo(c net.PacketConn) {
	buf := make([]byte, 64<<10)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		_, _ = c.WriteTo(append([]byte("echo "), buf[:n]...), from) // the test sees what is missing
	}
}

// greeting is what GET / answers with: the visitor's address, the one visited, and the replica.
const greeting = "%s to %s by %s\n"

func greet(w http.ResponseWriter, r *http.Request) {
	host, _ := os.Hostname() // empty is seen by the test
	fmt.Fprintf(w, greeting, r.RemoteAddr, r.Context().Value(http.LocalAddrContextKey), host)
}

func sendBytes(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.Atoi(r.FormValue("n"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(n))
	_, _ = io.Copy(w, io.LimitReader(&pattern{}, int64(n))) // the test sees what is missing
}

func sum(w http.ResponseWriter, r *http.Request) {
	h := sha256.New()
	n, err := io.Copy(h, r.Body)
	if err != nil {
		return // the visitor went away
	}
	fmt.Fprintf(w, "%d %x", n, h.Sum(nil))
}

func fetch(w http.ResponseWriter, r *http.Request) {
	body, err := read(http.Get(r.FormValue("url"))) //nolint:gosec // the tests choose it
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	_, _ = io.WriteString(w, body) // the test sees what is missing
}

func dial(w http.ResponseWriter, r *http.Request) {
	conn, err := net.DialTimeout("tcp", r.FormValue("to"), time.Second)
	if err != nil {
		fmt.Fprintln(w, "not:", err)
		return
	}
	conn.Close()
	fmt.Fprintln(w, "reached")
}

// sockets looks for unix sockets in all of the file system and in the kernel's list, which has those without a file.
func sockets(w http.ResponseWriter, r *http.Request) {
	found := []string{r.FormValue("more"), "/proc/1/root" + r.FormValue("more")}
	_ = filepath.WalkDir("/", func(path string, d fs.DirEntry, err error) error {
		if path == "/proc" {
			return fs.SkipDir
		}
		if err == nil && d.Type() == fs.ModeSocket {
			found = append(found, path)
		}
		return nil
	})
	list, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	for line := range strings.Lines(string(list)) {
		if fields := strings.Fields(line); len(fields) == 8 && fields[0] != "Num" {
			found = append(found, fields[7])
		}
	}
	for _, path := range found {
		if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
			conn.Close()
			fmt.Fprintln(w, path)
		}
	}
}

func writeFile(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(r.Body)
	if err == nil {
		err = os.WriteFile(r.URL.Query().Get("path"), text, 0o644)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

func hold(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintln(w, "begun")
	if err := http.NewResponseController(w).Flush(); err == nil {
		<-r.Context().Done()
	}
}

// pattern is an endless reader whose bytes depend on their place, so that a swapped or lost piece shows.
type pattern struct{ at uint64 }

func (p *pattern) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(p.at ^ p.at>>8 ^ p.at>>16)
		p.at++
	}
	return len(b), nil
}
