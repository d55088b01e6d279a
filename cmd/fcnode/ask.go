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
// interrupt.
func (a *asker) ask(question, otherwise string) (string, error) {
	fmt.Fprint(a.e.stderr, question)
	if otherwise != "" {
		fmt.Fprintf(a.e.stderr, " [%s]", otherwise)
	}
	fmt.Fprint(a.e.stderr, ": ")
	line, err := a.in.ReadString('\n')
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
