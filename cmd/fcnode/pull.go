package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/fcnode/fcnode/cmd/fcnode/internal/terminal"
	"github.com/fcnode/fcnode/runtime/api"
)

// pull has the node pull an image, and shows on a terminal how far it has come.
func pull(ctx context.Context, e *env, client *api.Client, ref string) (api.Image, error) {
	_, live := terminal.File(terminal.Raw(e.stderr))
	shown := false
	clear := func() {
		if live && shown {
			fmt.Fprint(terminal.Raw(e.stderr), "\r\x1b[K")
		}
	}
	for p, err := range client.Pull(ctx, ref) {
		if err != nil {
			clear()
			return api.Image{}, err
		}
		if p.Image != nil {
			clear()
			return *p.Image, nil
		}
		switch {
		case live:
			clear()
			fmt.Fprint(terminal.Raw(e.stderr), terminal.Text(ref)+"  "+progress(p))
		case !shown:
			fmt.Fprintf(e.stderr, "fcnode: pulling %s\n", ref)
		}
		shown = true
	}
	return api.Image{}, errors.New("the daemon ended before the image was there")
}

// progress is "3 of 7 layers, 12/40 MiB".
func progress(p api.Pull) string {
	text := fmt.Sprintf("%d of %s", p.Layers, plural(p.Of, "layer"))
	switch {
	case p.Size > 0:
		text += ", " + sizes(p.Bytes, p.Size)
	case p.Bytes > 0:
		text += ", " + size(p.Bytes)
	}
	return text
}
