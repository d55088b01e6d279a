package event

// Kind says what an event is about.
type Kind = string

// The kinds of events. Info has their descriptions.
const (
	Started Kind = "started"
	Stopped Kind = "stopped"
	Applied Kind = "applied"
	Deleted Kind = "deleted"
	Invalid Kind = "invalid"
	Mended  Kind = "mended"

	Waking   Kind = "waking"
	Running  Kind = "running"
	Woken    Kind = "woken"
	NotWoken Kind = "not-woken"
	Ahead    Kind = "ahead"
	Failed   Kind = "failed"
	Exited   Kind = "exited"

	Executed       Kind = "executed"
	Copied         Kind = "copied"
	Forwarded      Kind = "forwarded"
	BackedUp       Kind = "backed-up"
	SnapshotTaken  Kind = "snapshot"
	VolumeRestored Kind = "volume-restored"
	Ran            Kind = "ran"
	NotRan         Kind = "not-ran"

	OutOfMemory Kind = "out-of-memory"
	DiskFull    Kind = "disk-full"
	DiskLow     Kind = "disk-low"

	Parked            Kind = "parked"
	Frozen            Kind = "frozen"
	Reclaimed         Kind = "reclaimed"
	Prepared          Kind = "prepared"
	Checkpointed      Kind = "checkpointed"
	NotFrozen         Kind = "not-frozen"
	NotReclaimed      Kind = "not-reclaimed"
	NotPrepared       Kind = "not-prepared"
	NotCheckpointed   Kind = "not-checkpointed"
	NotRestored       Kind = "not-restored"
	CheckpointDropped Kind = "checkpoint-dropped"
	Ladder            Kind = "ladder"
	Busy              Kind = "busy"
	Outdated          Kind = "outdated"

	Unhealthy Kind = "unhealthy"
	Stalled   Kind = "stalled"

	Circulating   Kind = "circulating"
	NotCirculated Kind = "not-circulated"
	Draining      Kind = "draining"
	Drained       Kind = "drained"
	Spare         Kind = "spare"

	ScaledUp   Kind = "scaled-up"
	ScaledDown Kind = "scaled-down"
	ScaledOut  Kind = "scaled-out"
	ScaledIn   Kind = "scaled-in"
	Full       Kind = "full"
	NotScaled  Kind = "not-scaled"
	Joined     Kind = "joined"

	Refused  Kind = "refused"
	Limited  Kind = "limited"
	Firewall Kind = "firewall"

	NotConfined Kind = "not-confined"

	Adopted   Kind = "adopted"
	Discarded Kind = "discarded"

	Quarantined Kind = "quarantined"
	Panicked    Kind = "panicked"
)

// Not is the prefix of the kinds that tell that a tier could not be reached.
const Not = "not-"

// Info describes a kind to those who read events.
type Info struct {
	Kind    Kind
	Meaning string
	Fields  string // what Fields has; empty: nothing
	Do      string // what the operator does about it; empty: nothing
}

// Kinds describes all kinds, in the order of the documentation.
var Kinds = []Info{
	{Started, "The daemon answers requests.", "", ""},
	{Stopped, "The daemon ends. Replicas and the data path live on.", "", ""},
	{Applied, "A spec was created or updated, or its image, which could not be read then, was found.", "`warnings`: what the spec asks for and this node does not do", "Read the warnings."},
	{Deleted, "A site was deleted.", "", ""},
	{Invalid, "The folder of specs was not applied; all sites stay as they were.", "", "Correct the file that the text names and reload the daemon."},

	{Mended, "The state or run folder belonged to somebody else or was open to others; it is the daemon's now.", "", "Find out who changed it."},

	{Waking, "A replica is being started, restored or thawed.", "", ""},
	{Running, "A replica listens and serves.", "", ""},
	{Woken, "A wake is over.", "`trace`: its steps with their times (`fcnode trace` prints them)", ""},
	{NotWoken, "A wake failed; held visitors were refused.", "`trace`", "See the reason, and `fcnode logs SITE`."},
	{Ahead, "What came of waking a site ahead of a visit that its plan expected, or beside another site that its visits follow.", "`came`: whether somebody did before it slept as deep as before; `tier`: on which it waited for him; `beside`: the other site", "If nobody comes mostly: `fcnode why SITE` says what is known of its pauses; the node stops by itself when it does not pay, and `wake.ahead: 0` of the configuration wakes none."},
	{Failed, "A start failed and no other replica serves. Visitors are refused until the backoff is over.", "", "See the reason, and `fcnode logs SITE`; `fcnode wake SITE` tries at once."},
	{Exited, "A replica ended without being asked.", "", "If it repeats: `fcnode logs SITE`."},

	{Unhealthy, "A replica's health probe has failed so often that it is replaced.", "", "The reason says what the probe has found; `fcnode logs SITE`."},
	{Stalled, "Visitors wait, and nobody has got an answer for `health.answer`.", "`conns`: connections, `acceptQueue`: of them not accepted", "`fcnode circulate SITE` replaces it; with `health` in the spec the node does so itself."},
	{Executed, "`fcnode exec` started a command in a replica.", "`command`: its words; `uid`: of whoever asked", ""},
	{Copied, "`fcnode cp` copies files out of a replica or volume, or into one.", "`path`; `volume`, unless it is a replica; `into`: whether they are written; `uid`: of whoever asked", ""},
	{Forwarded, "`fcnode port-forward` made a connection within a replica.", "`to`: address and port; `uid`: of whoever asked", ""},
	{BackedUp, "A volume was copied for a backup.", "`volume`, `files`, `stillNs`: for how long the site's processes did not run; `uid`: of whoever asked", "If the site stood still for long: put the volumes on xfs or btrfs."},
	{SnapshotTaken, "A snapshot of a volume was taken.", "`volume`, `snapshot`, `files`, `stillNs`: for how long the site's processes did not run; `uid`: of whoever asked", ""},
	{VolumeRestored, "An archive or a snapshot has taken the place of a volume.", "`volume`, `snapshot` or `files`, `uid`: of whoever asked", ""},

	{Ran, "A command of the site's `schedule` has run to its end.", "`at`, `command`, `due`, `tookNs`, `code`: its exit code", "Other codes than 0: `fcnode logs SITE` has what it printed."},
	{NotRan, "A command of the site's `schedule` was not run, or not to its end.", "`at`, `command`, `due`, and `tookNs` if it was begun", "The reason says why: the run before is still under way, it took longer than its `timeout`, the site does not start, the daemon was stopped."},

	{OutOfMemory, "The kernel ended a replica, all of its processes, for lack of memory; `exited` follows.", "`max`: the site's `limits.memory.max`, in bytes; 0: none, and the node had no memory left", "Raise `limits.memory.max`, let the site be scaled out, or find out what takes it (`fcnode logs SITE`)."},

	{DiskFull, "A site has reached `limits.disk`; told once for each time. By quota what it writes fails; where there are none its replicas are ended (`failed` or `exited` follows), and the next visitor gets a fresh one.", "`bytes`, `inodes`: what it keeps; `maxBytes`, `maxInodes`: its limits", "Find out what it writes (`fcnode logs SITE`, `fcnode exec SITE du -x /`), put data into a volume, or raise `limits.disk`."},

	{DiskLow, "The disk of the state folder is almost full (`disk.reserve`). The site that has filled it of late is ended, and not started before there is room; all others go on. Without a site: none has.", "`bytes`, `inodes`: what the site has written of late", "Free some of the disk. If a site has filled it: find out what it writes, and give it `limits.disk`."},

	{Parked, "Nothing of the site runs; the next packet starts it cold.", "", ""},
	{Frozen, "A replica sleeps frozen, its memory in place.", "", ""},
	{Reclaimed, "A replica sleeps frozen, its memory pushed out.", "", ""},
	{Prepared, "A container waits at its gate for the next visitor.", "", ""},
	{Checkpointed, "The site sleeps as an image on disk.", "", ""},
	{NotFrozen, "A replica could not be frozen; the site goes on to its next tier.", "", ""},
	{NotReclaimed, "Memory of a frozen replica could not be pushed out.", "", "Is there swap? `fcnode check SITE` says what the node lacks."},
	{NotPrepared, "No container waits at the gate.", "", "If the reason is lack of room: raise `prepared.max` or `prepared.memory`."},
	{NotCheckpointed, "No image could be made; the site goes on to its next tier and tries again later.", "", "`fcnode check SITE` names what in the application stands against it."},
	{NotRestored, "An image could not be restored; the site started cold.", "", "If it repeats: take `checkpointed` out of the site's `tiers`."},
	{CheckpointDropped, "An image was thrown away.", "", "If it made room for another: raise `checkpoints.disk`."},
	{Outdated, "A replica that slept was ended before it served anybody: a volume's source is another file or folder now than when it was mounted, as after a deployment. The next visitor gets a fresh replica.", "", "Nothing. Replicas that serve at a deployment go on with what they have mounted: `fcnode circulate SITE` replaces them."},
	{Ladder, "The node has planned other tiers for the site, by its pauses, measured costs and prices; once an hour at most.", "`ladder`, `unused`: the tiers with their figures", ""},

	{Busy, "A site without visitors stays awake, as it works; told once for each time that it does.", "", "The reason says what the work is; `busy` of the spec which work counts, `busy.most` of the configuration for how long."},

	{Circulating, "A replica is being replaced by a fresh one.", "", ""},
	{NotCirculated, "The next replica did not come up; the old one stays.", "", "See the reason, and `fcnode logs SITE`."},
	{Draining, "A replica gets no new connections.", "", ""},
	{Drained, "A draining replica's last connection has ended, or its time is over.", "", ""},
	{Spare, "A spare replica stands ready.", "", ""},

	{ScaledUp, "A limit was raised.", "`resource`, `from`, `to`, `evidence`; with a trigger `trigger`, `triggerValue`, `triggerThreshold`, `delayNs`, `wayNs`; of a disk `device`, `rate`", ""},
	{ScaledDown, "A limit was lowered.", "as scaled-up", ""},
	{ScaledOut, "More replicas were asked for.", "`from`, `to`, `evidence`, and those of the trigger", ""},
	{ScaledIn, "Fewer replicas are needed.", "as scaled-out", ""},
	{Full, "More is needed than the spec or the node's budget allows.", "`evidence`", "Raise the limit that the reason names, or the node's budget."},
	{NotScaled, "This machine cannot set a limit that the spec wants scaled.", "", "The reason names the controller that is missing."},
	{Joined, "A replica that scaling out added got its first connection.", "`delayNs` since the trigger, `from`: the tier it came from", ""},

	{Refused, "A site began to talk to somebody and was not let. Told once for each destination.", "`allow`: the entry of `network.allow` that would allow it; absent where none would", "If the site needs it: put the line of the text into its spec. If not: find out what runs there."},
	{Limited, "A network wakes more sites than it may, a site is woken again and again for nobody, clients have to prove their addresses first, or a site sends more into the Internet than it may. Told when it begins, and again while it lasts, every ten minutes.", "`source`: who wakes; `to`: where the last packet was to go", "Of wakes: if it is a load balancer, a monitor or a network with many visitors, raise `wake.source` of the configuration; if not, `fcnode deny add`. Of what a site sends: look what runs in it, and raise `network.rate` of its spec if it is right."},
	{Firewall, "The machine's firewall has got, or no longer has, rules for what is forwarded; packets of sites pass it, or no longer do.", "`chains`: those with rules", "`fcnode check` says whether it lets visitors through."},
	{NotConfined, "Sites that start run without fcnode's AppArmor profile, though the kernel has AppArmor: it could not be loaded.", "", "The reason says what to install or mend; then restart fcnode."},

	{Adopted, "A replica was found running when the daemon started.", "", ""},
	{Discarded, "A container that belongs to no site was ended when the daemon started.", "", ""},
	{Quarantined, "A file, a replica or a site was found damaged, or fcnode panicked when it handled a site; the node goes on without it.", "", "The text says where it is now and what was lost; apply the site's spec again."},
	{Panicked, "fcnode panicked, in the handling of no site in particular, and goes on.", "", "It is a bug: report it with the stack in the daemon's log."},
}
