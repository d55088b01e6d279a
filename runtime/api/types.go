package api

import (
	"net/netip"
	"time"

	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/event"
	"github.com/fcnode/fcnode/runtime/spec"
)

// DefaultSocket is where a node listens unless its configuration says otherwise.
const DefaultSocket = "/run/fcnode/fcnode.sock"

// Tier says how awake a replica, or the most awake replica of a site, is.
type Tier = detect.Tier

// The tiers, from the most to the least awake.
const (
	TierRunning      = detect.TierRunning
	TierFrozen       = detect.TierFrozen
	TierReclaimed    = detect.TierReclaimed
	TierPrepared     = detect.TierPrepared
	TierCheckpointed = detect.TierCheckpointed
	TierCold         = detect.TierCold
)

// Phase is the state of a site's state machine (package site owns the machine; the
// names here are what users see of it).
type Phase string

// The phases which a site passes through.
const (
	// PhaseParked: no replica runs; the first packet wakes the site.
	PhaseParked Phase = "parked"
	// PhaseWaking: a replica is on its way and clients may be held.
	PhaseWaking Phase = "waking"
	// PhaseRunning: at least one replica takes connections.
	PhaseRunning Phase = "running"
	// PhaseParking: the last replica is being put to sleep.
	PhaseParking Phase = "parking"
	// PhaseQuarantined: its record is damaged, or fcnode panicked when it handled the site; apply it again.
	PhaseQuarantined Phase = "quarantined"
	// PhaseBackoff: the last starts failed; the next is not tried before a while.
	PhaseBackoff Phase = "backoff"
)

// Site is what the node knows about one site.
type Site struct {
	Name string `json:"name"`
	// ID is the site's number in the data path.
	ID        uint32       `json:"id"`
	Addresses []netip.Addr `json:"addresses"`
	Domains   []string     `json:"domains,omitempty"`
	// Ports are "80/tcp", "53/udp".
	Ports []string `json:"ports"`
	Tier  Tier     `json:"tier"`
	Phase Phase    `json:"phase"`

	Replicas []Replica `json:"replicas"`
	// ReplicasMin and ReplicasMax bound the number of replicas of an awake site.
	ReplicasMin int `json:"replicasMin,omitempty"`
	ReplicasMax int `json:"replicasMax"`

	Conns Conns `json:"conns"`
	// Flows is how many flows of UDP last now: udpIdle of the spec says until when.
	Flows uint64 `json:"flows,omitempty"`
	// OwnConns is how many connections to others (a database, say) its sleeping replicas hold.
	OwnConns int `json:"ownConns,omitempty"`
	// Load is what the kernel counted; absent while nothing runs.
	Load *Load `json:"load,omitempty"`
	// Idle is how long the site has been without a connection; 0 while it has one.
	Idle event.Nanoseconds `json:"idleNs"`
	// Latency is absent until requests have been counted.
	Latency *Latency `json:"latency,omitempty"`
	Limits  Limits   `json:"limits"`
	// Usage is absent where the node cannot tell (no controller, no replica).
	Usage *Usage `json:"usage,omitempty"`

	// Ladder is how deep the site will sleep, and after how long without a connection;
	// empty: never. In answers about a single site only, as are Triggers.
	Ladder []Rung `json:"ladder,omitempty"`
	// LadderUnused are the other tiers that the spec allows, and why they are not used.
	LadderUnused []Rung `json:"ladderUnused,omitempty"`
	// Triggers are what the kernel watches of the site, to be told at once.
	Triggers []Trigger `json:"triggers,omitempty"`
	// Level is the service level that the node plans its sleep by; absent where the spec says itself when it sleeps. In answers
	// about a single site only.
	Level *Level `json:"level,omitempty"`
	// Circulation is when the site is circulated, where the node chooses that (lifetime: auto). In answers about a single site only.
	Circulation *Circulation `json:"circulation,omitempty"`
	// NotScaled says which limits are not scaled though the spec asks for it, and why.
	NotScaled []string `json:"notScaled,omitempty"`
	// SpareUnused says why no spare replicas are kept though the spec asks for them.
	SpareUnused string `json:"spareUnused,omitempty"`

	// Decision is the last one that the node took about this site.
	Decision *event.Decision `json:"lastDecision,omitempty"`
	// Ignored is there in answers about a single site only.
	Ignored *Ignored `json:"ignored,omitempty"`

	// Error is the last failure, kept until the next success.
	Error *event.Failure `json:"lastError,omitempty"`

	SpecDigest string `json:"specDigest"`
	// ImageDigest names the image that the site was applied with and wakes from; empty for a folder, and for an image that could not be read yet.
	ImageDigest string `json:"imageDigest,omitempty"`
	// Spec is there in answers about a single site only, as are Revision and Versions.
	Spec *spec.Site `json:"spec,omitempty"`
	// Revision counts the changes of the site's spec and image.
	Revision uint64 `json:"revision,omitempty"`
	// Versions are what it was before, the newest first: what it can be rolled back to.
	Versions []Version `json:"versions,omitempty"`
}

// Circulation is when fresh processes take the place of a site's oldest ones.
type Circulation struct {
	Born   time.Time `json:"born"`   // when those were started
	At     time.Time `json:"at"`     // from when on, as things are now
	Latest time.Time `json:"latest"` // at the latest
	Why    string    `json:"why"`    // why then
}

// Level is a site's service level, and how it is kept.
type Level struct {
	// Class is empty where the objective is the site's own.
	Class string `json:"class,omitempty"`
	// Missing is the class that the spec names, where the configuration has none of that name.
	Missing string `json:"missing,omitempty"`
	// Late is the share of the requests, of all sites of the class, that may wait for longer than Over.
	Late float64           `json:"late"`
	Over event.Nanoseconds `json:"overNs"`
	// Each bounds the share of each site by itself; NotEach says why this one is not held to it.
	Each    float64 `json:"each,omitempty"`
	NotEach string  `json:"notEach,omitempty"`
	// Share is what part was late lately, of so many requests within about a day.
	Share    float64 `json:"share"`
	Requests float64 `json:"requests"`
	// Price is what a second of a visitor's waiting is worth, and MemoryPrice a GiB of memory for a second: 1 as usual.
	Price       float64 `json:"price"`
	MemoryPrice float64 `json:"memoryPrice"`
}

// Version is what a site was before it was changed.
type Version struct {
	Revision uint64 `json:"revision"`
	// Replaced is when it was changed.
	Replaced time.Time `json:"replaced"`
	// ImageDigest is as in Site.
	ImageDigest string     `json:"imageDigest,omitempty"`
	Spec        *spec.Site `json:"spec"`
}

// Replica is one instance of a site.
type Replica struct {
	// ID is "<site>-<number>".
	ID   string `json:"id"`
	Tier Tier   `json:"tier"`
	// PID of the container's init, seen from the node.
	PID     int       `json:"pid,omitempty"`
	Started time.Time `json:"started"`
	Conns   Conns     `json:"conns"`
	// Flows is how many flows of UDP last now.
	Flows uint64 `json:"flows,omitempty"`
	// OwnConns is how many connections to others it holds while it sleeps.
	OwnConns int `json:"ownConns,omitempty"`
	// State is starting, ready, closing, suspending, asleep, resuming, draining or
	// stopping; docs/api.md says what each means.
	State string `json:"state"`
	// Spare ones get no connections: they stand ready to be added.
	Spare bool `json:"spare,omitempty"`
	// Image is the digest of the image that it was started from.
	Image string `json:"imageDigest,omitempty"`
}

// Ignored is what sources get that are no visitors, and counts their packets: those
// that begin something, and those that would have woken the site.
type Ignored struct {
	// Answer is what they get while the site sleeps: refuse, accept or http.
	Answer string `json:"answer"`
	// Status is that of http.
	Status int `json:"status,omitempty"`
	// Asleep counts packets while the site slept, Awake those that it got.
	Asleep uint64 `json:"asleep"`
	Awake  uint64 `json:"awake"`
}

// Conns counts connections.
type Conns struct {
	Now   uint64 `json:"now"`
	Total uint64 `json:"total"`
}

// Latency of requests, from the first byte of the request to the first of the answer,
// over Load.Over.
type Latency struct {
	P50 event.Nanoseconds `json:"p50Ns"`
	P99 event.Nanoseconds `json:"p99Ns"`
}

// Load is what the kernel counted of a site's replicas.
type Load struct {
	// Rate is in requests a second, over Over: since the reading before this one.
	Rate float64           `json:"rate"`
	Over event.Nanoseconds `json:"overNs"`
	// Requests are turns of taking: payload from the client, then payload to it. Of
	// connections that do not take turns (WebSockets, HTTP/2, streams) only NoTurns knows.
	Requests uint64 `json:"requests"`
	// NoTurns counts connections that do not take turns.
	NoTurns uint64 `json:"noTurns"`
	// Refused connections got a reset, failed ones were never completed.
	Refused  uint64 `json:"refused"`
	Failed   uint64 `json:"failed"`
	BytesIn  uint64 `json:"inBytes"`
	BytesOut uint64 `json:"outBytes"`
	UDPFlows uint64 `json:"udpFlows"`
	// AcceptQueue is the longest queue of connections that a replica has not taken yet.
	AcceptQueue uint32 `json:"acceptQueue"`
}

// Rung is a tier in which a site sleeps once it has been idle for After.
type Rung struct {
	Tier  Tier              `json:"tier"`
	After event.Nanoseconds `json:"afterNs,omitempty"`
	// Wake is the median of what the site's last Wakes wakes from there have added to
	// the first answer.
	Wake  event.Nanoseconds `json:"wakeNs,omitempty"`
	Wakes int               `json:"wakes,omitempty"`
	// Reason is why it is a rung, or is none.
	Reason string `json:"reason,omitempty"`
}

// Trigger is a condition that the kernel watches. Value and Threshold are
// connections, queue entries or nanoseconds, after its kind.
type Trigger struct {
	// Kind is one of the constants below.
	Kind      string  `json:"kind"`
	Threshold float64 `json:"threshold"`
	// Fired is how often it was crossed since the daemon started, Last when.
	Fired uint64    `json:"fired"`
	Last  time.Time `json:"last,omitzero"`
}

// The kinds of triggers.
const (
	TriggerConns       = "conns"        // connections of one replica
	TriggerAcceptQueue = "accept-queue" // entries in the accept queue of one replica
	TriggerLatency     = "latency"      // nanoseconds of one request
	TriggerSurge       = "surge"        // the rate of new connections has changed; the threshold is that of the CUSUM
)

// Limits are those that hold now, with the range that the spec allows. A nil member
// is not limited: the spec says nothing, or the node cannot (see NodeInfo.Cgroup).
type Limits struct {
	CPU    *CPULimit    `json:"cpu,omitempty"`
	Memory *MemoryLimit `json:"memory,omitempty"`
	PIDs   *PIDsLimit   `json:"pids,omitempty"`
	IO     []IOLimit    `json:"io,omitempty"`
	Disk   *DiskLimit   `json:"disk,omitempty"`
}

// DiskLimit is what the site may keep on disk. Zero is not limited.
type DiskLimit struct {
	Bytes  int64 `json:"maxBytes,omitempty"`
	Inodes int64 `json:"maxInodes,omitempty"`
	// By is quota, of the kernel, or watch: then a site that has more is stopped.
	By string `json:"by"`
}

// The values of DiskLimit.By.
const (
	DiskByQuota = "quota"
	DiskByWatch = "watch"
)

// CPULimit is in cores.
type CPULimit struct {
	Now float64 `json:"now"`
	Min float64 `json:"min,omitempty"`
	Max float64 `json:"max,omitempty"`
}

// MemoryLimit is in bytes. Now is from where on the kernel reclaims where that is
// scaled, else from where on it kills.
type MemoryLimit struct {
	Now int64 `json:"nowBytes"`
	Min int64 `json:"minBytes,omitempty"`
	Max int64 `json:"maxBytes,omitempty"`
}

// PIDsLimit is in processes and threads.
type PIDsLimit struct {
	Now int64 `json:"now"`
	Min int64 `json:"min,omitempty"`
	Max int64 `json:"max,omitempty"`
}

// IOLimit is what may be read from and written to a device in a second. Zero is not limited.
type IOLimit struct {
	Device string `json:"device"`
	IORates
	// Min and Max are between what the rates are scaled; those that are fixed are zero.
	Min IORates `json:"min,omitzero"`
	Max IORates `json:"max,omitzero"`
}

// IORates are bytes and operations a second.
type IORates struct {
	ReadBytes  int64 `json:"readBytes,omitempty"`
	WriteBytes int64 `json:"writeBytes,omitempty"`
	Reads      int64 `json:"reads,omitempty"`
	Writes     int64 `json:"writes,omitempty"`
}

// Usage of all replicas of a site together. A nil member is not known.
type Usage struct {
	// CPU is in cores, over the last second or so.
	CPU    *float64 `json:"cpu,omitempty"`
	Memory *int64   `json:"memoryBytes,omitempty"`
	PIDs   *int64   `json:"pids,omitempty"`
	// Disk and Inodes are what the site keeps of what limits.disk counts, if it has that.
	Disk   *int64 `json:"diskBytes,omitempty"`
	Inodes *int64 `json:"diskInodes,omitempty"`
}

// What happens on a node goes over the wire as it is kept on disk.
type (
	// Event is event.Event.
	Event = event.Event
	// EventOptions is event.Query.
	EventOptions = event.Query
	// Decision is event.Decision.
	Decision = event.Decision
	// SiteError is event.Failure.
	SiteError = event.Failure
	// Trace is event.Trace.
	Trace = event.Trace
	// Step is event.Step.
	Step = event.Step
	// Nanoseconds is event.Nanoseconds.
	Nanoseconds = event.Nanoseconds
)

// Steps and results of a trace; see package event.
const (
	StepHeld      = event.StepHeld
	StepHeldUDP   = event.StepHeldUDP
	StepKnocked   = event.StepKnocked
	StepAsked     = event.StepAsked
	StepEventRead = event.StepEventRead
	StepPrepared  = event.StepPrepared
	StepMounted   = event.StepMounted
	StepCreated   = event.StepCreated
	StepStarted   = event.StepStarted
	StepRestoring = event.StepRestoring
	StepThawed    = event.StepThawed
	StepListening = event.StepListening
	StepReleased  = event.StepReleased
	StepReady     = event.StepReady
	StepConnected = event.StepConnected
	StepFirstByte = event.StepFirstByte
	StepGivenUp   = event.StepGivenUp
	ResultOK      = event.ResultOK
	ResultFailed  = event.ResultFailed
	ResultPending = event.ResultPending
)

// Action is what apply did, or would do, with a site.
type Action string

// The outcomes of apply.
const (
	ActionCreated   Action = "created"
	ActionUpdated   Action = "updated"
	ActionUnchanged Action = "unchanged"
)

// ApplyResult tells what happened to one site.
type ApplyResult struct {
	Name   string `json:"name"`
	Action Action `json:"action"`
	// Addresses which the site got; absent in a dry run that would create it.
	Addresses []netip.Addr `json:"addresses,omitempty"`
	// Warnings say what the spec asks for and this node does not do, and why.
	Warnings []string `json:"warnings,omitempty"`
	// Notes say what the node does that the spec does not say.
	Notes []string `json:"notes,omitempty"`
}

// SpecFile is the text of the spec of a site, and where it is kept.
type SpecFile struct {
	// Path is of the file in the node's folder of specs; empty where there is no such folder, and sites are applied by the API alone.
	Path string `json:"path,omitempty"`
	// Text is what stands in the file, which may describe other sites, too. Of a site that is in no file it is what could stand there; empty: there
	// is no such site.
	Text string `json:"text"`
	// Digest tells the text of the file from others; empty: there is no such file. A writer gives the digest of the text that it has read.
	Digest string `json:"digest,omitempty"`
	// Saved says that the site is in the file.
	Saved bool `json:"saved,omitempty"`
}

// Pull is how far the pulling of an image has come. The last one has the image.
type Pull struct {
	// Layers of Of are unpacked, of those that the node did not have.
	Layers int `json:"layers"`
	Of     int `json:"of"`
	// Bytes of Size have been read of them; Size is 0 where nobody says.
	Bytes int64  `json:"bytes"`
	Size  int64  `json:"size,omitempty"`
	Image *Image `json:"image,omitempty"`
}

// Image is what an image says about itself.
type Image struct {
	Digest string `json:"digest"`
	// Ports that it exposes: 80/tcp.
	Ports []string `json:"ports,omitempty"`
	// Volumes are the folders that it declares as such.
	Volumes []string `json:"volumes,omitempty"`
	// Architecture of its programs, if that is not the machine's own.
	Architecture string `json:"architecture,omitempty"`
}

// StoredImage is an image that the node has unpacked.
type StoredImage struct {
	Image
	// Refs are the names by which sites have it, and by which it was unpacked.
	Refs []string `json:"refs"`
	// Sites have it.
	Sites []string `json:"sites"`
	// Used says that it is not removed: by a site, for a rollback, or by a replica that still runs.
	Used bool `json:"used"`
	// Layers that can be seen, and their bytes on disk; Own are those of layers that no other image has.
	Layers   int       `json:"layers"`
	Bytes    uint64    `json:"bytes"`
	Own      uint64    `json:"own"`
	Unpacked time.Time `json:"unpacked"`
	// LayerList, from the bottom up, and Run are in answers about a single image only.
	LayerList []ImageLayer `json:"layerList,omitempty"`
	Run       *ImageRun    `json:"run,omitempty"`
}

// ImageLayer is a layer of an image.
type ImageLayer struct {
	// ID is the digest of the chain of layers that ends with this one.
	ID    string `json:"id"`
	Bytes uint64 `json:"bytes"`
	// Images that have it.
	Images int `json:"images"`
}

// ImageRun is what an image says about how it is run.
type ImageRun struct {
	Entrypoint []string `json:"entrypoint,omitempty"`
	Command    []string `json:"command,omitempty"`
	Env        []string `json:"env,omitempty"`
	Workdir    string   `json:"workdir,omitempty"`
	User       string   `json:"user,omitempty"`
	StopSignal string   `json:"stopSignal,omitempty"`
}

// Pruned counts what was removed.
type Pruned struct {
	Images int `json:"images"`
	Layers int `json:"layers"`
}

// Volume is one that the node keeps for a site, or for one that was deleted.
type Volume struct {
	Site string `json:"site"`
	Name string `json:"name"`
	// Path of its folder on the node.
	Path string `json:"path"`
	// Target is where the site saw it when it was made.
	Target string `json:"target,omitempty"`
	// Image is the digest of the image that it was filled from.
	Image string    `json:"image,omitempty"`
	Made  time.Time `json:"made"`
	// Used says that a site has it, so that it cannot be removed.
	Used bool `json:"used"`
	// Bytes and Files are counted in answers about a single volume only.
	Bytes int64 `json:"bytes,omitempty"`
	Files int64 `json:"files,omitempty"`
	// Snapshots of it, the oldest first.
	Snapshots []VolumeSnapshot `json:"snapshots,omitempty"`
}

// VolumeSnapshot is a copy of a volume that shares its blocks with it.
type VolumeSnapshot struct {
	Name string    `json:"name"`
	Made time.Time `json:"made"`
}

// TakenSnapshot says how one was taken.
type TakenSnapshot struct {
	VolumeSnapshot
	// StillNs is for how long the site's processes did not run.
	StillNs time.Duration `json:"stillNs"`
	Files   int64         `json:"files"`
	// Left are devices and sockets, which no snapshot has.
	Left int64 `json:"left,omitempty"`
	// Removed are the older ones that were removed, as SnapshotOptions.Keep said.
	Removed []string `json:"removed,omitempty"`
}

// LogLine is one line of output of a replica.
type LogLine struct {
	Time time.Time `json:"time"`
	// Stream is stdout or stderr.
	Stream  string `json:"stream"`
	Replica string `json:"replica,omitempty"`
	Text    string `json:"text"`
	// Partial: the line was longer than a log entry, and goes on in the next one.
	Partial bool `json:"partial,omitempty"`
}

// NodeInfo describes the daemon and what it found on its machine.
type NodeInfo struct {
	Version  string    `json:"version"`
	Revision string    `json:"revision,omitempty"`
	PID      int       `json:"pid"`
	Started  time.Time `json:"started"`
	Kernel   string    `json:"kernel"`
	// Attach is how the programs hang on the devices: tcx or clsact.
	Attach string `json:"attach"`
	Device string `json:"device"`
	// DeviceKind is dummy or ifb.
	DeviceKind string         `json:"deviceKind,omitempty"`
	Prefixes   []netip.Prefix `json:"prefixes"`
	Uplinks    []string       `json:"uplinks,omitempty"`
	Sites      int            `json:"sites"`
	Replicas   int            `json:"replicas"`
	Cgroup     CgroupInfo     `json:"cgroup"`
	Features   []Feature      `json:"features,omitempty"`
}

// CgroupInfo says which limits can be set on this machine.
type CgroupInfo struct {
	// Path of the parent of all replicas' cgroups, below the cgroup2 mount.
	Path string `json:"path"`
	// Hybrid: the controllers belong to cgroup v1, fcnode uses a mount of its own.
	Hybrid      bool     `json:"hybrid"`
	Controllers []string `json:"controllers"`
	// Unlimited are the limits that cannot be set here, with the reason.
	Unlimited []Unlimited `json:"unlimited,omitempty"`
}

// Unlimited is something that cannot be limited on this machine.
type Unlimited struct {
	// Controller of cgroup v2 that would be needed: memory.
	Controller string `json:"controller"`
	// Limits says what it would limit, and which field of a spec has no effect.
	Limits string `json:"limits"`
	Why    string `json:"why"`
	Remedy string `json:"remedy"`
}

// Feature of the kernel that fcnode uses where it is.
type Feature struct {
	Name string `json:"name"`
	// Since is the first kernel that has it.
	Since     string `json:"since,omitempty"`
	Available bool   `json:"available"`
	// Reason says why it is not available, and what is used instead.
	Reason string `json:"reason,omitempty"`
}
