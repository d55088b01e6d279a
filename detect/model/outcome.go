package model

import "slices"

func (s *site) outcome() Outcome {
	o := s.out
	o.Requests = len(s.latencies)
	o.Last, o.LastCPU = s.wanted, s.cpuNext
	o.Most = max(o.Most, s.Config.Replicas, 1)
	if played := (s.now - s.Change).Seconds(); played > 0 {
		o.Replicas /= played
		o.Cores /= played
	}
	if o.Requests == 0 {
		return o
	}
	slices.Sort(s.latencies)
	over, _ := slices.BinarySearch(s.latencies, s.Objective+1)
	o.Over = float64(o.Requests-over) / float64(o.Requests)
	o.P50 = s.latencies[o.Requests/2]
	o.P99 = s.latencies[min(o.Requests-1, o.Requests*99/100)]
	return o
}
