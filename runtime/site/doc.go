// Package site owns the life of one site as a state machine without I/O and
// without a clock: events go in, actions come out, and the node carries them
// out. Every transition, the ugly ones too, can so be tested as a table.
//
// A site's phase follows from its replicas:
//
//	          first packet, wake                    listening
//	parked ───────────────────────► waking ───────────────────────► running
//	 ▲ ▲                              │ start failed, exited,         │  ▲
//	 │ │ backoff over                 ▼ never listened        idle, park │  │ a packet came
//	 │ └────────────────────────── backoff ◄──────────────┐          ▼  │ in between
//	 │                                         crashed soon └─────── parking
//	 └──────────────────────────────────────────────────────────────┘
//	                         stopped
//
// A replica is starting (its container is being made, or does not listen yet),
// ready, closing (new flows are held again while its counters are read once
// more) or stopping. A site may have a stopping replica and a starting one at
// the same time: a visitor does not wait for the old one's end.
package site
