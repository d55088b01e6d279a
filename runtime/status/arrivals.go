package status

import (
	"context"
	"fmt"
	"io"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/arrivals"
)

// Arrivals implements api.Backend.
func (s *Status) Arrivals(_ context.Context, w io.Writer, opts api.ArrivalsOptions) error {
	if s.host.Cfg.Record.Keep == 0 {
		return &api.Error{Code: api.CodeUnavailable, Message: "this node records no arrivals", Hint: "say in its configuration for how long they are kept, record: {keep: 336h}, and restart it"}
	}
	q := arrivals.Query{Since: opts.Since, Until: opts.Until, Numbered: opts.Numbered}
	if opts.Site != "" {
		if _, err := s.table.ByName(opts.Site); err != nil {
			return err
		}
		q.Sites = []string{opts.Site}
	} else {
		for _, st := range s.table.All() {
			q.Sites = append(q.Sites, st.Name)
		}
	}
	if err := s.host.Arrivals.Export(w, q); err != nil {
		return fmt.Errorf("export arrivals: %w", err)
	}
	return nil
}
