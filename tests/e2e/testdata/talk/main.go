// Command talk is a server of a protocol that no package of Debian serves, and its client, for tests (tests/e2e TestRootClients):
//
//	talk serve PROTOCOL ADDRESS FILE  keeps the notes that clients leave in FILE, a line each
//	talk note PROTOCOL ADDRESS [TEXT] leaves TEXT there, and prints all notes
//
// PROTOCOL is http3, websocket or grpc.
package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/coder/websocket"
	"github.com/quic-go/quic-go/http3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// protocol serves notes, and leaves them with such a server.
type protocol struct {
	serve func(address string, n notes) error
	leave func(ctx context.Context, address, text string) (string, error)
}

var protocols = map[string]protocol{
	"http3":     {serveHTTP3, leaveHTTP3},
	"websocket": {serveWebSocket, leaveWebSocket},
	"grpc":      {serveGRPC, leaveGRPC},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "talk:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) < 3 || protocols[args[1]].serve == nil {
		return errors.New("usage: talk serve PROTOCOL ADDRESS FILE, or talk note PROTOCOL ADDRESS [TEXT]")
	}
	p, address := protocols[args[1]], args[2]
	rest := strings.Join(args[3:], " ")
	if args[0] == "serve" {
		failed := make(chan error, 1)
		go func() { failed <- p.serve(address, notes(rest)) }()
		select {
		case err := <-failed:
			return err
		case <-ctx.Done():
			return nil
		}
	}
	all, err := p.leave(ctx, address, rest)
	if err != nil {
		return fmt.Errorf("%s of %s: %w", args[1], address, err)
	}
	fmt.Println(all)
	return nil
}

// notes is the file that has them.
type notes string

// add adds one, unless it is empty, and returns all.
func (n notes) add(text string) (string, error) {
	if text != "" {
		f, err := os.OpenFile(string(n), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return "", err
		}
		_, err = fmt.Fprintln(f, text)
		if err := errors.Join(err, f.Close()); err != nil {
			return "", err
		}
	}
	all, err := os.ReadFile(string(n))
	return strings.Join(strings.Fields(string(all)), " "), err
}

func serveHTTP3(address string, n notes) error {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	template := x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour), DNSNames: []string{"talk"}}
	cert, err := x509.CreateCertificate(rand.Reader, &template, &template, public, private)
	if err != nil {
		return err
	}
	server := http3.Server{
		Addr:      address,
		TLSConfig: http3.ConfigureTLSConfig(&tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert}, PrivateKey: private}}}),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			text, err := io.ReadAll(r.Body)
			var all string
			if err == nil {
				all, err = n.add(string(text))
			}
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			_, _ = io.WriteString(w, all)
		}),
	}
	return server.ListenAndServe()
}

func leaveHTTP3(ctx context.Context, address, text string) (string, error) {
	// Its first flight is of two datagrams, with the keys of post-quantum cryptography that are the default.
	transport := &http3.Transport{TLSClientConfig: &tls.Config{ServerName: "talk", InsecureSkipVerify: true}}
	defer transport.Close()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+address+"/", strings.NewReader(text))
	if err != nil {
		return "", err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	all, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, all)
	}
	return string(all), err
}

func serveWebSocket(address string, n notes) error {
	answer := func(w http.ResponseWriter, r *http.Request) error {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return err
		}
		defer c.CloseNow()
		_, text, err := c.Read(r.Context())
		if err != nil {
			return err
		}
		all, err := n.add(string(text))
		if err != nil {
			return err
		}
		if err := c.Write(r.Context(), websocket.MessageText, []byte(all)); err != nil {
			return err
		}
		return c.Close(websocket.StatusNormalClosure, "")
	}
	server := http.Server{Addr: address, ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := answer(w, r); err != nil {
			fmt.Fprintln(os.Stderr, "talk:", err)
		}
	})}
	return server.ListenAndServe()
}

func leaveWebSocket(ctx context.Context, address, text string) (string, error) {
	c, _, err := websocket.Dial(ctx, "ws://"+address, nil)
	if err != nil {
		return "", err
	}
	defer c.CloseNow()
	if err := c.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
		return "", err
	}
	_, all, err := c.Read(ctx)
	if err != nil {
		return "", err
	}
	return string(all), c.Close(websocket.StatusNormalClosure, "")
}

const method = "/talk.Notes/Leave"

func serveGRPC(address string, n notes) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "talk.Notes", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Leave", Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			var text wrapperspb.StringValue
			if err := decode(&text); err != nil {
				return nil, err
			}
			all, err := n.add(text.GetValue())
			return wrapperspb.String(all), err
		}}},
	}, n)
	return server.Serve(l)
}

func leaveGRPC(ctx context.Context, address, text string) (string, error) {
	c, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return "", err
	}
	defer c.Close()
	var all wrapperspb.StringValue
	if err := c.Invoke(ctx, method, wrapperspb.String(text), &all); err != nil {
		return "", err
	}
	return all.GetValue(), nil
}
