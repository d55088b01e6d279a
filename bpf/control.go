package bpf

import (
	"fmt"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Marks are what the daemon changes in a replica that the programs count for.
type Marks struct{ objs *dpObjects }

// SetAsleep marks a replica as sleeping, or takes the mark off. The first
// packet for one of its listeners that is steered to it after a call with true
// has returned is reported once, as EventKnock, which takes the mark off and
// begins a wake (see BeginWake). Nothing is held: the packet goes where it
// always goes.
//
// A replica that is gone is ebpf.ErrKeyNotExist, as with all calls here.
func (m Marks) SetAsleep(id ReplicaID, on bool) error {
	if on {
		return m.control(id, dpFcControlOpFC_CONTROL_ASLEEP, "mark as asleep")
	}
	return m.control(id, dpFcControlOpFC_CONTROL_AWAKE, "mark as awake")
}

// WatchEmpty asks for one EventEmpty when the replica's last connection ends.
// It returns how many there are now: with none the event does not come. With
// false an event that is still due does not come either.
func (m Marks) WatchEmpty(id ReplicaID, on bool) (conns uint64, err error) {
	if !on {
		return 0, m.control(id, dpFcControlOpFC_CONTROL_UNWATCH, "watch no more")
	}
	args := dpFcControlArgs{Op: uint32(dpFcControlOpFC_CONTROL_WATCH), Replica: uint32(id)}
	err = m.runControl(&args, "watch for its last connection")
	return args.Conns, err
}

// BeginWake makes the next connection and the next answer the first ones again:
// EventEstablished and EventFirstByte are sent once more. A knock does so by
// itself, before its packet goes on; call it for wakes that no packet began.
func (m Marks) BeginWake(id ReplicaID) error {
	return m.control(id, dpFcControlOpFC_CONTROL_BEGIN_WAKE, "begin a wake")
}

// OpenReplica lets a replica that was added closed get new flows, as far as it
// listens.
func (m Marks) OpenReplica(id ReplicaID) error {
	return m.control(id, dpFcControlOpFC_CONTROL_OPEN, "open")
}

// TakePorts says on which ports of a replica somebody listens now (a bit each), in
// answer to EventReady: the next change is told by the next event. Call it also for
// replicas whose events an earlier daemon may have taken.
func (m Marks) TakePorts(id ReplicaID) (ready4, ready6 uint32, err error) {
	args := dpFcControlArgs{Op: uint32(dpFcControlOpFC_CONTROL_TAKE_PORTS), Replica: uint32(id)}
	err = m.runControl(&args, "take who listens")
	return args.Ready4, args.Ready6, err
}

// Flows are the flows of UDP that visitors have with a replica. One lasts if datagrams
// pass in it two seconds after its first answer; what lasts no longer than a question
// and its answer is counted for ten seconds after its last datagram.
type Flows struct {
	Live    int           // those that are not over, for whoever wants to end the replica
	Lasting int           // those of them that last
	Left    time.Duration // after so long the last of them is over if nothing comes
}

// Flows counts them. Those that the table has lost are missing (see MaxFlows), and
// where the replica's UDPIdle is 0 none counts.
func (m Marks) Flows(id ReplicaID) (Flows, error) {
	args := dpFcControlArgs{Op: uint32(dpFcControlOpFC_CONTROL_FLOWS), Replica: uint32(id)}
	err := m.runControl(&args, "count its flows of UDP")
	return Flows{Live: int(args.Flows), Lasting: int(args.Lasting), Left: time.Duration(args.Left) * cellTime}, err
}

// cellTime is the unit in which cells note when they were used.
const cellTime = 1 << 30 * time.Nanosecond

// control runs fc_control, which changes single fields of a replica by atomic
// operations: an update of the whole value would write counters back that the
// other programs have since changed.
func (m Marks) control(id ReplicaID, op dpFcControlOp, what string) error {
	return m.runControl(&dpFcControlArgs{Op: uint32(op), Replica: uint32(id)}, what)
}

func (m Marks) runControl(args *dpFcControlArgs, what string) error {
	ret, err := m.objs.FcControl.Run(&ebpf.RunOptions{Context: args, ContextOut: args})
	switch {
	case err != nil:
	case unix.Errno(ret) == unix.ENOENT:
		err = ebpf.ErrKeyNotExist
	case ret != 0:
		err = unix.Errno(ret)
	}
	if err != nil {
		return fmt.Errorf("replica %d in the data path: %s: %w", args.Replica, what, err)
	}
	return nil
}
