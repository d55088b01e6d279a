package life

import (
	"strings"
	"testing"
	"time"

	"github.com/fcnode/fcnode/bpf"
)

// TestProof: a restored replica is given up only if it shows no sign of life while somebody waits.
func TestProof(t *testing.T) {
	const patience, longest = 10 * time.Second, 40 * time.Second
	silent := bpf.Load{ConnsNow: 2, ConnsTotal: 2, AcceptQueue: 2}
	slow := bpf.Load{ConnsNow: 2, ConnsTotal: 2, AcceptQueue: 1, BytesIn: 80, Requests: 1}
	type look struct {
		after  time.Duration
		deaf   bool // nobody listens
		load   bpf.Load
		why    string
		serves bool
	}
	for name, tt := range map[string]struct {
		unanswered bool // before it slept
		looks      []look
	}{
		"answers":           {looks: []look{{load: bpf.Load{ConnsNow: 1, ConnsTotal: 1, BytesOut: 1}, serves: true}}},
		"answers datagrams": {looks: []look{{load: bpf.Load{DatagramsOut: 1}, serves: true}}},
		"nobody came":       {looks: []look{{}, {after: time.Hour}, {after: time.Hour}}},
		"accepts nobody":    {looks: []look{{load: silent}, {after: patience - 1, load: silent}, {after: 1, load: silent, why: "accepted none of 2"}}},
		"its visitors left": {looks: []look{{load: silent}, {after: patience, load: bpf.Load{ConnsTotal: 2, AcceptQueue: 2}}, {after: 1, load: silent}}},
		"is slow":           {looks: []look{{load: slow}, {after: longest - 1, load: slow}, {after: 1, load: slow, why: "answered none of 1"}}},
		"is slow and answers": {looks: []look{{load: slow}, {after: longest - 1, load: slow},
			{after: 1, load: bpf.Load{ConnsNow: 2, ConnsTotal: 2, Requests: 2, BytesOut: 10}, serves: true}}},
		"was never seen to answer": {unanswered: true, looks: []look{{load: slow}, {after: 10 * longest, load: slow}}},
		"accepted all but the last": {unanswered: true, looks: []look{
			{load: silent}, {after: patience, load: bpf.Load{ConnsNow: 3, ConnsTotal: 3, AcceptQueue: 1}}, {after: patience, load: bpf.Load{ConnsNow: 3, ConnsTotal: 3, AcceptQueue: 1}}}},
		"nobody listens":  {looks: []look{{deaf: true}, {after: patience - 1, deaf: true}, {after: 1, deaf: true, why: "nobody has listened"}}},
		"listens at last": {looks: []look{{deaf: true}, {after: patience - 1}, {after: 1, deaf: true}}},
	} {
		t.Run(name, func(t *testing.T) {
			p := proof{answered: !tt.unanswered, patience: patience, longest: longest}
			now := time.Unix(1, 0)
			for i, l := range tt.looks {
				now = now.Add(l.after)
				why, serves := p.judge(now, !l.deaf, l.load)
				if serves != l.serves || (why == nil) != (l.why == "") || why != nil && !strings.Contains(why.Error(), l.why) {
					t.Errorf("look %d: serves %v, %v", i, serves, why)
				}
			}
		})
	}
}
