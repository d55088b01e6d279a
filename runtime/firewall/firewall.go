package firewall

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/fcnode/fcnode/netctl"
	"github.com/fcnode/fcnode/runtime/event"
)

// What the configuration says.
const (
	Respect = "respect" // what the firewall drops reaches no site
	Bypass  = "bypass"  // packets of awake sites go past it
)

// gatherFor is how long changes are gathered at most until the rules are read again:
// a program that writes thousands of them one by one must not keep the daemon busy.
const gatherFor = 100 * time.Millisecond

// legacyEvery is how often the tables of the older iptables are read, of whose
// changes the kernel tells nobody.
const legacyEvery = 10 * time.Second

// Network is where the firewall is; *netctl.Net is one.
type Network interface {
	Firewall() ([]netctl.FirewallChain, error)
	WatchFirewall(changed func()) (func() error, error)
}

// Datapath is told which way packets go; *bpf.Datapath is one.
type Datapath interface {
	SetByStack(on bool) error
}

// Follower keeps the data path in line with the machine's firewall.
type Follower struct {
	Mode     string
	Network  Network
	Datapath Datapath
	Log      *slog.Logger
	Tell     func(event.Event)
	// Guard calls what is tried again after an error, and makes an error of its
	// panic.
	Guard func(f func() error) error

	told string // what the last event said
}

// Sync reads the rules and sets the way of packets. Where they cannot be read
// packets take the way on which none is passed by.
func (f *Follower) Sync() error {
	if f.Mode == Bypass {
		return f.Datapath.SetByStack(false)
	}
	var chains []netctl.FirewallChain
	err := f.Guard(func() (err error) { // the library reads whatever others wrote
		chains, err = f.Network.Firewall()
		return err
	})
	if err != nil {
		f.Log.Error("the firewall's rules cannot be read; all packets of sites pass it", "error", err)
	}
	on := err != nil || len(chains) > 0
	if err := f.Datapath.SetByStack(on); err != nil {
		return err
	}
	f.tell(chains, err)
	return nil
}

// tell makes a change known once.
func (f *Follower) tell(chains []netctl.FirewallChain, err error) {
	names := Names(chains)
	now := strings.Join(names, ", ")
	if err != nil {
		now = err.Error()
	}
	if now == f.told {
		return
	}
	before := f.told
	f.told = now
	e := event.Event{Kind: event.Firewall, Reason: "the firewall has no rules any more for what is forwarded: packets of awake sites go past it"}
	switch {
	case err != nil:
		e.Reason = fmt.Sprintf("the firewall's rules cannot be read, so all packets of sites pass it: %v", err)
	case now != "":
		e.Reason = "all packets of sites pass the firewall, which has rules for what is forwarded: " + now
		e.Fields = map[string]any{"chains": names}
	case before == "":
		return
	}
	f.Tell(e)
}

// Names are those of the chains, each once.
func Names(chains []netctl.FirewallChain) []string {
	var names []string
	for _, c := range chains {
		names = append(names, c.String())
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Follow calls Sync after each change until the context ends. It is called after
// a first Sync.
func (f *Follower) Follow(ctx context.Context) {
	if f.Mode == Bypass {
		return
	}
	changed := make(chan struct{}, 1)
	mark := func() {
		select {
		case changed <- struct{}{}:
		default: // one is on its way
		}
	}
	closeWatch, err := f.Network.WatchFirewall(mark)
	if err != nil {
		f.Log.Error("changes of the firewall are noticed late", "within", legacyEvery, "error", err)
		closeWatch = func() error { return nil }
	}
	defer func() {
		if err := closeWatch(); err != nil {
			f.Log.Warn("closing the watch of the firewall", "error", err)
		}
	}()
	late := time.NewTicker(legacyEvery)
	defer late.Stop()
	mark() // what came before there was a watch
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-late.C:
		}
		if err := f.Sync(); err != nil {
			f.Log.Error("the data path cannot be told of the firewall", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(gatherFor):
		}
	}
}
