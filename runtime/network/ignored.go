package network

import (
	"errors"
	"maps"

	"github.com/fcnode/fcnode/bpf"
	"github.com/fcnode/fcnode/runtime/spec"
)

// IgnoringKernel is the data path's side of the sources that are no visitors.
type IgnoringKernel interface {
	SetIgnored(bpf.IgnoredSource) error
	DeleteIgnored(bpf.IgnoredSource) error
	Ignored() (map[bpf.IgnoredSource]bool, error)
	SetIgnoredAnswer(id bpf.SiteID, answer bool) error
	DeleteIgnoredAnswer(bpf.SiteID) error
	IgnoredAnswers() (map[bpf.SiteID]bool, error)
	IgnoredPackets() (map[bpf.SiteID]bpf.IgnoredPackets, error)
	DeleteIgnoredPackets(bpf.SiteID) error
}

// ignored is what the data path is told of sources that are no visitors.
type ignored struct {
	kernel IgnoringKernel
	node   spec.Ignored

	have    map[bpf.IgnoredSource]bool
	answers map[bpf.SiteID]bool
	counted map[bpf.SiteID]bool // sites of which packets may be counted
}

func openIgnored(k IgnoringKernel, node spec.Ignored) (i ignored, err error) {
	i = ignored{kernel: k, node: node, counted: map[bpf.SiteID]bool{}}
	if i.have, err = k.Ignored(); err != nil {
		return i, err
	}
	if i.answers, err = k.IgnoredAnswers(); err != nil {
		return i, err
	}
	packets, err := k.IgnoredPackets()
	for id := range packets {
		i.counted[id] = true
	}
	return i, err
}

// become ignores what these sites and the node say; if that cannot be all is as
// before. Nothing is ignored less in between, so that no monitor wakes a site.
func (i *ignored) become(sites map[string]Site) error {
	have, answers := maps.Clone(i.have), maps.Clone(i.answers)
	want, wantAnswers := map[bpf.IgnoredSource]bool{}, map[bpf.SiteID]bool{}
	add := func(id bpf.SiteID, what spec.Ignored) {
		for _, s := range what.Sources {
			want[bpf.IgnoredSource{Site: id, Prefix: s.Prefix}] = true
		}
		if what.Answer != "" {
			wantAnswers[id] = what.Answer != spec.IgnoredRefuse
		}
	}
	add(0, i.node)
	there := map[bpf.SiteID]bool{}
	for _, s := range sites {
		there[s.ID] = true
		if s.Ignore != nil {
			add(s.ID, *s.Ignore)
		}
	}
	if err := i.change(want, wantAnswers); err != nil {
		return errors.Join(err, i.change(have, answers))
	}
	for id := range i.counted {
		if !there[id] {
			if err := i.kernel.DeleteIgnoredPackets(id); err != nil {
				return err
			}
		}
	}
	i.counted = there
	return nil
}

// change sets what differs; what is taken away goes last.
func (i *ignored) change(want map[bpf.IgnoredSource]bool, answers map[bpf.SiteID]bool) error {
	for id, answer := range answers {
		if is, there := i.answers[id]; there && is == answer {
			continue
		}
		if err := i.kernel.SetIgnoredAnswer(id, answer); err != nil {
			return err
		}
		i.answers[id] = answer
	}
	for s := range want {
		if i.have[s] {
			continue
		}
		if err := i.kernel.SetIgnored(s); err != nil {
			return err
		}
		i.have[s] = true
	}
	for s := range i.have {
		if want[s] {
			continue
		}
		if err := i.kernel.DeleteIgnored(s); err != nil {
			return err
		}
		delete(i.have, s)
	}
	for id := range i.answers {
		if _, stays := answers[id]; stays {
			continue
		}
		if err := i.kernel.DeleteIgnoredAnswer(id); err != nil {
			return err
		}
		delete(i.answers, id)
	}
	return nil
}
