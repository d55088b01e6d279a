package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// asker asks who sits at the terminal.
type asker struct {
	e  *env
	in *bufio.Reader
}

func newAsker(e *env) *asker { return &asker{e, bufio.NewReader(e.stdin)} }

// ask gives the answer, or otherwise if it is empty. The end of the input is as an
// interrupt. After an interrupt nothing can be asked any more.
func (a *asker) ask(ctx context.Context, question, otherwise string) (string, error) {
	fmt.Fprint(a.e.stderr, question)
	if otherwise != "" {
		fmt.Fprintf(a.e.stderr, " [%s]", otherwise)
	}
	fmt.Fprint(a.e.stderr, ": ")
	var line string
	read := make(chan error, 1)
	go func() {
		text, err := a.in.ReadString('\n')
		line = text
		read <- err
	}()
	var err error
	select {
	case <-ctx.Done(): // the read goes on until the program ends
		fmt.Fprintln(a.e.stderr)
		return "", ctx.Err()
	case err = <-read:
	}
	if errors.Is(err, io.EOF) && line == "" {
		fmt.Fprintln(a.e.stderr)
		return "", fmt.Errorf("nobody answers: %w", context.Canceled)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read the answer: %w", err)
	}
	if line = strings.TrimSpace(line); line == "" {
		line = otherwise
	}
	return line, nil
}

// yes asks a question that an empty answer agrees to.
func (a *asker) yes(ctx context.Context, question string) (bool, error) {
	answer, err := a.ask(ctx, question+" (y/n)", "y")
	return strings.HasPrefix(strings.ToLower(answer), "y"), err
}
