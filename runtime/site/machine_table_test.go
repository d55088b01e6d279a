package site

// machine is the whole machine: state, event, and what comes of it. Written are
// the actions in their order (note! is one about a failure), the phase, the
// replicas, and whether the data path refuses new flows or is forced to take all
// ports as listened on. What is not written is passed over: most of all whatever
// is said about a replica that is gone.
var machine = map[string]map[string]string{
	"parked": {
		"packet": `publish, start 1, arm-start 1 30s, note waking 1 "first packet"
			=> waking (1 starting)`,
		"wake": `publish, start 1, arm-start 1 30s, note waking 1 "asked"
			=> waking (1 starting)`,
		"deleted": `refuse, gone
			=> parked`,
	},
	"starting": {
		"park by force": `publish, stop 1, refuse
			=> parking (1 stopping)`,
		"1 listens": `release, note running 1 "listening", arm-port-grace 1 2s, arm-idle 1 5m0s
			=> running (1 ready)`,
		"1 listens on all": `release, note running 1 "listening", arm-idle 1 5m0s
			=> running (1 ready)`,
		"1 failed to start": `publish, refuse, arm-backoff 1s, note! failed 1 "disk full"
			=> backoff refusing`,
		"1 timed out": `publish, stop 1, refuse, arm-backoff 1s, note! failed 1 "nobody listened on its ports within 30s"
			=> parking (1 stopping) refusing`,
		"1 exited": `publish, refuse, arm-backoff 1s, note! failed 1 "ended before it listened: exit code 1"
			=> backoff refusing`,
		"spec changed": `publish, stop 1, start 2, arm-start 2 30s, note waking 2 "spec changed"
			=> waking (1 stopping, 2 starting)`,
		"deleted": `refuse, publish, stop 1
			=> parking (1 stopping)`,
	},
	"ready": {
		"packet": `release
			=> running (1 ready)`,
		"park": `publish, recheck 1
			=> parking (1 closing)`,
		"park by force": `publish, stop 1
			=> parking (1 stopping)`,
		"1 listens": `release
			=> running (1 ready)`,
		"1 listens on all": `release
			=> running (1 ready)`,
		"1 failed to start": `publish, note! exited 1 "disk full"
			=> parked`,
		"1 exited": `publish, note! exited 1 "exit code 1"
			=> parked`,
		"1 is idle": `publish, recheck 1
			=> parking (1 closing)`,
		"1 was idle a minute": `arm-idle 1 4m0s
			=> running (1 ready)`,
		"1 is busy": `arm-idle 1 5m0s
			=> running (1 ready)`,
		"spec changed": `publish, stop 1
			=> parking (1 stopping)`,
		"deleted": `refuse, publish, stop 1
			=> parking (1 stopping)`,
	},
	"one port": {
		"packet": `release
			=> running (1 ready)`,
		"park by force": `publish, stop 1, refuse
			=> parking (1 stopping)`,
		"1 listens": `release
			=> running (1 ready)`,
		"1 listens on all": `release
			=> running (1 ready)`,
		"1 port grace over": `publish, release
			=> running (1 ready) forced`,
		"1 failed to start": `publish, refuse, arm-backoff 1s, note! failed 1 "ended 0s after it was ready: disk full"
			=> backoff refusing`,
		"1 exited": `publish, refuse, arm-backoff 1s, note! failed 1 "ended 0s after it was ready: exit code 1"
			=> backoff refusing`,
		"1 is idle": `arm-idle 1 5m0s
			=> running (1 ready)`,
		"1 was idle a minute": `arm-idle 1 5m0s
			=> running (1 ready)`,
		"1 is busy": `arm-idle 1 5m0s
			=> running (1 ready)`,
		"spec changed": `publish, stop 1, start 2, arm-start 2 30s, note waking 2 "spec changed"
			=> waking (1 stopping, 2 starting)`,
		"deleted": `refuse, publish, stop 1
			=> parking (1 stopping)`,
	},
	"forced": {
		"packet": `release
			=> running (1 ready) forced`,
		"park": `publish, recheck 1
			=> parking (1 closing)`,
		"park by force": `publish, stop 1
			=> parking (1 stopping)`,
		"1 listens": `release
			=> running (1 ready) forced`,
		"1 listens on all": `release
			=> running (1 ready) forced`,
		"1 failed to start": `publish, refuse, arm-backoff 1s, note! failed 1 "ended 0s after it was ready: disk full"
			=> backoff refusing`,
		"1 exited": `publish, refuse, arm-backoff 1s, note! failed 1 "ended 0s after it was ready: exit code 1"
			=> backoff refusing`,
		"1 is idle": `publish, recheck 1
			=> parking (1 closing)`,
		"1 was idle a minute": `arm-idle 1 4m0s
			=> running (1 ready) forced`,
		"1 is busy": `arm-idle 1 5m0s
			=> running (1 ready) forced`,
		"spec changed": `publish, stop 1
			=> parking (1 stopping)`,
		"deleted": `refuse, publish, stop 1
			=> parking (1 stopping)`,
	},
	"closing, idle": {
		"packet": `publish, release, note running 1 "a packet came while parking", arm-idle 1 5m0s
			=> running (1 ready)`,
		"wake": `publish, release, note running 1 "asked", arm-idle 1 5m0s
			=> running (1 ready)`,
		"park by force": `publish, stop 1
			=> parking (1 stopping)`,
		"1 failed to start": `publish, note parked "idle 5m0s"
			=> parked`,
		"1 exited": `publish, note parked "idle 5m0s"
			=> parked`,
		"1 still idle": `publish, stop 1
			=> parking (1 stopping)`,
		"1 had a visitor": `publish, release, note running 1 "a connection came while parking", arm-idle 1 5m0s
			=> running (1 ready)`,
		"1 has a visitor": `publish, release, note running 1 "a connection came while parking", arm-idle 1 5m0s
			=> running (1 ready)`,
		"spec changed": `publish, stop 1
			=> parking (1 stopping)`,
		"deleted": `refuse, publish, stop 1
			=> parking (1 stopping)`,
	},
	"closing, asked": {
		"packet": `publish, release, note running 1 "a packet came while parking", arm-idle 1 5m0s
			=> running (1 ready)`,
		"wake": `publish, release, note running 1 "asked", arm-idle 1 5m0s
			=> running (1 ready)`,
		"park by force": `publish, stop 1
			=> parking (1 stopping)`,
		"1 failed to start": `publish, note parked "asked"
			=> parked`,
		"1 exited": `publish, note parked "asked"
			=> parked`,
		"1 still idle": `publish, stop 1
			=> parking (1 stopping)`,
		"1 had a visitor": `publish, stop 1
			=> parking (1 stopping)`,
		"1 has a visitor": `publish, release, note running 1 "a connection came while parking", arm-idle 1 5m0s
			=> running (1 ready)`,
		"spec changed": `publish, stop 1
			=> parking (1 stopping)`,
		"deleted": `refuse, publish, stop 1
			=> parking (1 stopping)`,
	},
	"stopping": {
		"packet": `publish, start 2, arm-start 2 30s, note waking 2 "first packet"
			=> waking (1 stopping, 2 starting)`,
		"wake": `publish, start 2, arm-start 2 30s, note waking 2 "asked"
			=> waking (1 stopping, 2 starting)`,
		"1 failed to start": `publish, note parked "asked"
			=> parked`,
		"1 exited": `publish, note parked "asked"
			=> parked`,
		"deleted": `refuse
			=> parking (1 stopping)`,
	},
	"stopping, to come again": {
		"packet": `publish, start 2, arm-start 2 30s, note waking 2 "first packet"
			=> waking (1 stopping, 2 starting)`,
		"wake": `publish, start 2, arm-start 2 30s, note waking 2 "asked"
			=> waking (1 stopping, 2 starting)`,
		"1 failed to start": `publish, start 2, arm-start 2 30s, note waking 2 "spec changed"
			=> waking (2 starting)`,
		"1 exited": `publish, start 2, arm-start 2 30s, note waking 2 "spec changed"
			=> waking (2 starting)`,
		"deleted": `refuse
			=> parking (1 stopping)`,
	},
	"stopping, next starting": {
		"park by force": `publish, stop 2, refuse
			=> parking (1 stopping, 2 stopping)`,
		"2 listens on all": `release, note running 2 "listening", arm-idle 2 5m0s
			=> running (1 stopping, 2 ready)`,
		"1 failed to start": `publish
			=> waking (2 starting)`,
		"2 failed to start": `publish, refuse, arm-backoff 1s, note! failed 2 "disk full"
			=> parking (1 stopping) refusing`,
		"2 timed out": `publish, stop 2, refuse, arm-backoff 1s, note! failed 2 "nobody listened on its ports within 30s"
			=> parking (1 stopping, 2 stopping) refusing`,
		"1 exited": `publish
			=> waking (2 starting)`,
		"2 exited": `publish, refuse, arm-backoff 1s, note! failed 2 "ended before it listened: exit code 1"
			=> parking (1 stopping) refusing`,
		"spec changed": `publish, stop 2, start 3, arm-start 3 30s, note waking 3 "spec changed"
			=> waking (1 stopping, 2 stopping, 3 starting)`,
		"deleted": `refuse, publish, stop 2
			=> parking (1 stopping, 2 stopping)`,
	},
	"stopping, next ready": {
		"packet": `release
			=> running (1 stopping, 2 ready)`,
		"park": `publish, recheck 2
			=> parking (1 stopping, 2 closing)`,
		"park by force": `publish, stop 2
			=> parking (1 stopping, 2 stopping)`,
		"2 listens on all": `release
			=> running (1 stopping, 2 ready)`,
		"1 failed to start": `publish
			=> running (2 ready)`,
		"2 failed to start": `publish, refuse, arm-backoff 1s, note! failed 2 "ended 0s after it was ready: disk full"
			=> parking (1 stopping) refusing`,
		"1 exited": `publish
			=> running (2 ready)`,
		"2 exited": `publish, refuse, arm-backoff 1s, note! failed 2 "ended 0s after it was ready: exit code 1"
			=> parking (1 stopping) refusing`,
		"spec changed": `publish, stop 2
			=> parking (1 stopping, 2 stopping)`,
		"deleted": `refuse, publish, stop 2
			=> parking (1 stopping, 2 stopping)`,
	},
	"backoff": {
		"packet": `refuse
			=> backoff refusing`,
		"wake": `publish, start 2, arm-start 2 30s, note waking 2 "asked"
			=> waking (2 starting)`,
		"backoff over": `publish
			=> parked`,
		"spec changed": `publish
			=> parked`,
		"deleted": `refuse, gone
			=> backoff refusing`,
	},
	"backoff, timed out one stopping": {
		"packet": `refuse
			=> parking (1 stopping) refusing`,
		"wake": `publish, start 2, arm-start 2 30s, note waking 2 "asked"
			=> waking (1 stopping, 2 starting)`,
		"1 failed to start": `publish
			=> backoff refusing`,
		"1 exited": `publish
			=> backoff refusing`,
		"backoff over": `publish
			=> parking (1 stopping)`,
		"spec changed": `publish
			=> parking (1 stopping)`,
		"deleted": `refuse
			=> parking (1 stopping) refusing`,
	},
	"deleted, stopping": {
		"packet": `refuse
			=> parking (1 stopping)`,
		"1 failed to start": `publish, note parked "deleted", gone
			=> parked`,
		"1 exited": `publish, note parked "deleted", gone
			=> parked`,
		"deleted": `refuse
			=> parking (1 stopping)`,
	},
	"deleted, gone": {
		"packet": `refuse
			=> parked`,
		"deleted": `refuse
			=> parked`,
	},
}
