// Package site owns the life of one site as a state machine without I/O and
// without a clock: events go in, actions come out, and the node carries them
// out. Every transition, the ugly ones too, can so be tested as a table, and
// whole lives by a model (model_test.go).
//
// What a replica goes through:
//
//	            listening          idle, park        counters agree
//	starting ──────────────► ready ──────────► closing ───────────► suspending ──┐
//	   │                      │ ▲ ▲               │ │ cold, prepared          │ arrived
//	   │ failed               │ │ └───────────────┘ │                         ▼
//	   ▼                      │ │  a visitor        ▼        a packet       asleep
//	 backoff      replaced,   │ └──── resuming ◄──────────────────────────────  │
//	              scaled in   ▼              called back at any step          │ idle longer:
//	                       draining ───────────► stopping ◄───────────────────┘ closing, …
//	                              empty, or time over
//
// On its ladder (Policy.Ladder) a replica sleeps ever deeper. Frozen and
// reclaimed it keeps its place in the data path, marked, so that the first packet
// knocks. Checkpointed, prepared and cold it has no place there: packets are held,
// and the site is woken by a start. Whether a start restores a checkpoint is the
// node's business.
//
// A site's phase follows from its replicas. It may have several that serve
// (scale.go), one that is to replace another (circulate.go), a spare one that is
// kept for the next circulation, and any number that drain or end. A visitor does
// not wait for the end of an old one.
package site
