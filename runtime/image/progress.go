package image

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Progress is how far the unpacking of an image has come.
type Progress struct {
	// Layers of Of are unpacked. Those that the store had already are not counted.
	Layers, Of int
	// Bytes of Size have been read of those layers, as their source has them, which
	// may be compressed. Size is 0 where the source does not say.
	Bytes, Size int64
}

// progressEvery is how often a caller that waits for an image is told.
const progressEvery = 200 * time.Millisecond

type progressKey struct{}

// WithProgress gives a context with which Resolve tells how far it has come while
// it waits for an unpacking, from the goroutine that has called it.
func WithProgress(ctx context.Context, tell func(Progress)) context.Context {
	return context.WithValue(ctx, progressKey{}, tell)
}

// ticks says when to tell; never where nobody wants to know.
func (s *Store) ticks(ctx context.Context) (<-chan time.Time, func()) {
	if ctx.Value(progressKey{}) == nil {
		return nil, func() {}
	}
	t := time.NewTicker(progressEvery)
	return t.C, t.Stop
}

func (s *Store) tell(ctx context.Context, d v1.Hash) {
	s.meters.mu.Lock()
	m := s.meters.of[d]
	s.meters.mu.Unlock()
	if tell, ok := ctx.Value(progressKey{}).(func(Progress)); ok && m != nil && m.of.Load() > 0 {
		tell(Progress{Layers: int(m.layers.Load()), Of: int(m.of.Load()), Bytes: m.bytes.Load(), Size: m.size.Load()})
	}
}

// meters of the unpackings that are under way, by the digests of their images.
type meters struct {
	mu sync.Mutex
	of map[v1.Hash]*meter
}

// meter counts what one has done.
type meter struct{ layers, of, bytes, size atomic.Int64 }

func (s *Store) measure(d v1.Hash) *meter {
	s.meters.mu.Lock()
	defer s.meters.mu.Unlock()
	if s.meters.of == nil {
		s.meters.of = map[v1.Hash]*meter{}
	}
	m := &meter{}
	s.meters.of[d] = m
	return m
}

func (s *Store) measured(d v1.Hash) {
	s.meters.mu.Lock()
	defer s.meters.mu.Unlock()
	delete(s.meters.of, d)
}

// expect notes what there is to do.
func (u *unpacking) expect(layers []layerBlob, chain []v1.Hash) error {
	known := true
	var size int64
	for i, l := range layers {
		exists, err := isThere(u.layerDir(chain[i]))
		if err != nil {
			return err
		}
		if exists {
			continue
		}
		u.meter.of.Add(1)
		size += l.size
		known = known && l.size > 0
	}
	if known {
		u.meter.size.Store(size)
	}
	return nil
}

// counting has what is read of a layer counted.
func (m *meter) counting(l layerBlob) layerBlob {
	open := l.open
	l.open = func() (io.ReadCloser, error) {
		r, err := open()
		if err != nil {
			return nil, err
		}
		return &counted{r, m}, nil
	}
	return l
}

type counted struct {
	io.ReadCloser
	m *meter
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.m.bytes.Add(int64(n))
	return n, err
}
