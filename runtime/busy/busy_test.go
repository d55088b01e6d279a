package busy

import (
	"testing"
	"time"

	"github.com/fcnode/fcnode/runtime/cgroup"
	"github.com/fcnode/fcnode/runtime/spec"
)

func used(cpu time.Duration, read, written uint64) cgroup.Usage {
	return cgroup.Usage{
		CPU: cgroup.CPUUsage{Known: true, Time: time.Hour + cpu},
		IO:  cgroup.IOUsage{Known: true, ReadBytes: 1<<40 + read, WriteBytes: 1<<30 + written},
	}
}

func TestWhy(t *testing.T) {
	all := spec.Busy{CPU: 5, IO: spec.PerSecond(spec.MiB), Connections: true, File: "/run/busy"}
	pool := Conn{To: "10.0.0.5:3306", Sent: 20 * time.Second, Received: 19 * time.Second, Heard: 10 * time.Second}
	quick := Conn{To: "10.0.0.5:3306", Sent: 20 * time.Second, Received: 20 * time.Second, Heard: 20 * time.Second}
	query := Conn{To: "10.0.0.5:3306", Sent: 20 * time.Second, Received: time.Minute}
	for _, c := range []struct {
		name  string
		busy  spec.Busy
		took  time.Duration
		after cgroup.Usage
		now   Now
		want  string
	}{
		{"nothing", all, time.Second, used(0, 0, 0), Now{}, ""},
		{"below all marks", all, time.Second, used(49*time.Millisecond, 512<<10, 511<<10), Now{Conns: []Conn{pool}}, ""},
		{"cpu", all, time.Second, used(51*time.Millisecond, 0, 0), Now{}, "it uses 6% of a core"},
		{"cpu of several cores", all, time.Second, used(3*time.Second, 0, 0), Now{}, "it uses 300% of a core"},
		{"cpu within a longer time", all, 2 * time.Second, used(51*time.Millisecond, 0, 0), Now{}, ""},
		{"cpu not looked at", spec.Busy{File: "/a"}, time.Second, used(time.Second, 0, 0), Now{}, ""},
		{"io", all, time.Second, used(0, 1<<20, 512<<10), Now{}, "it reads and writes 1.5 MiB/s"},
		{"io not looked at", spec.Busy{CPU: 5}, time.Second, used(0, 1<<30, 0), Now{}, ""},
		{"io not known", all, time.Second, cgroup.Usage{CPU: used(0, 0, 0).CPU}, Now{}, ""},
		{"cpu not known", all, time.Second, cgroup.Usage{}, Now{}, ""},
		{"file", all, time.Second, used(0, 0, 0), Now{File: true}, "/run/busy is there"},
		{"file not named", spec.Busy{CPU: 5}, time.Second, used(0, 0, 0), Now{File: true}, ""},
		{"a pool", all, time.Second, used(0, 0, 0), Now{Conns: []Conn{pool, quick}}, ""},
		{"sent", all, time.Second, used(0, 0, 0), Now{Conns: []Conn{pool, {To: "192.0.2.1:25", Received: time.Hour}}}, "bytes move on its connection to 192.0.2.1:25"},
		{"received", all, time.Second, used(0, 0, 0), Now{Conns: []Conn{{To: "192.0.2.1:25", Sent: time.Hour}}}, "bytes move on its connection to 192.0.2.1:25"},
		{"a long query", all, time.Second, used(0, 0, 0), Now{Conns: []Conn{query}}, "it has waited for an answer of 10.0.0.5:3306 for 20s"},
		{"a long query, asked at once", all, time.Second, used(0, 0, 0), Now{Conns: []Conn{{To: "db", Sent: 9 * time.Second, Received: 9 * time.Second, Heard: 8960 * time.Millisecond}}}, "it has waited for an answer of db for 9s"},
		{"never answered", all, time.Second, used(0, 0, 0), Now{Conns: []Conn{{To: "10.0.0.6:514", Sent: time.Minute, Received: time.Hour}}}, ""},
		{"opening", all, time.Second, used(0, 0, 0), Now{Conns: []Conn{{To: "192.0.2.1:25", Opening: true, Sent: time.Hour, Received: time.Hour}}}, "it connects to 192.0.2.1:25"},
		{"connections not looked at", spec.Busy{CPU: 5}, time.Second, used(0, 0, 0), Now{Conns: []Conn{query}}, ""},
		{"no time at all", all, 0, used(0, 0, 0), Now{}, ""},
	} {
		if got := Why(c.busy, c.took, used(0, 0, 0), c.after, c.now); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
