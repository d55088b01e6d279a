package bpf

import "fmt"

// statNames follow enum fc_stat in src/types.h.
var statNames = [dpFcStatFC_STAT_MAX]string{
	dpFcStatFC_STAT_STEERED:              "steered",
	dpFcStatFC_STAT_HELD:                 "held",
	dpFcStatFC_STAT_HOLD_DUPLICATE:       "hold_duplicate",
	dpFcStatFC_STAT_HOLD_CAP:             "hold_cap",
	dpFcStatFC_STAT_HOLD_RING_FULL:       "hold_ring_full",
	dpFcStatFC_STAT_HOLD_TOO_LARGE:       "hold_too_large",
	dpFcStatFC_STAT_SINK:                 "sink",
	dpFcStatFC_STAT_FLOW_FOUND_BY_SOCKET: "flow_found_by_socket",
	dpFcStatFC_STAT_SPOOFED:              "spoofed",
	dpFcStatFC_STAT_MALFORMED:            "malformed",
	dpFcStatFC_STAT_REPLIED_UPLINK:       "replied_uplink",
	dpFcStatFC_STAT_REPLIED_STACK:        "replied_stack",
	dpFcStatFC_STAT_EVENT_LOST:           "event_lost",
	dpFcStatFC_STAT_MAP_FULL:             "map_full",
	dpFcStatFC_STAT_DENIED:               "denied",
	dpFcStatFC_STAT_POLICY:               "policy",
	dpFcStatFC_STAT_FOREIGN:              "foreign",
	dpFcStatFC_STAT_UNATTENDED:           "unattended",
	dpFcStatFC_STAT_KEEPALIVE:            "keepalive",
	dpFcStatFC_STAT_WAKE_SOURCE:          "wake_source",
	dpFcStatFC_STAT_WAKE_SITE:            "wake_site",
	dpFcStatFC_STAT_FLOW_EVICTED:         "flow_evicted",
	dpFcStatFC_STAT_FLOW_QUOTA:           "flow_quota",
	dpFcStatFC_STAT_CELL_TAKEN:           "cell_taken",
	dpFcStatFC_STAT_EGRESS_CONNECTIONS:   "egress_connections",
	dpFcStatFC_STAT_EGRESS_PACKETS:       "egress_packets",
	dpFcStatFC_STAT_PROOF_ASKED:          "proof_asked",
	dpFcStatFC_STAT_PROOF_GIVEN:          "proof_given",
}

// Counters returns how many packets (or events) met which end, by name.
func (d *Datapath) Counters() (map[string]uint64, error) {
	out := make(map[string]uint64, len(statNames))
	var perCPU []uint64
	for i, name := range statNames {
		if err := d.objs.FcStats.Lookup(uint32(i), &perCPU); err != nil {
			return nil, fmt.Errorf("read counter %s: %w", name, err)
		}
		for _, n := range perCPU {
			out[name] += n
		}
	}
	return out, nil
}
