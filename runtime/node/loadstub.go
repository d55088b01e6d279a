package node

import (
	"time"

	"github.com/fcnode/fcnode/bpf"
)

type loadCounts struct {
	ConnsNow, ConnsTotal, Refused, Failed, BytesIn, BytesOut, Requests, NoTurns, UDPFlows uint64
	AcceptQueue, AcceptMax                                                                uint32
	Latency                                                                               latencies
}

type latencies struct{}

func (latencies) Count() uint64                  { return 0 }
func (latencies) Quantile(float64) time.Duration { return 0 }
func (l latencies) Sub(latencies) latencies      { return l }
func (l latencies) Add(latencies) latencies      { return l }

func (n *Node) loads(ids []bpf.ReplicaID) (map[bpf.ReplicaID]loadCounts, error) {
	out := map[bpf.ReplicaID]loadCounts{}
	for _, id := range ids {
		st, err := n.dp.Stats(id)
		if err != nil {
			return nil, err
		}
		out[id] = loadCounts{ConnsNow: st.ConnsNow, ConnsTotal: st.ConnsTotal}
	}
	return out, nil
}
