// Package wire is what the rig's host and guest say to each other: a job, which the guest reads
// from its second disk, and messages, which it sends through a virtio port, one JSON object a line.
package wire

import "time"

// JobFile is the job's path on the job disk.
const JobFile = "job.json"

// Port is the name of the virtio port (/dev/virtio-ports/NAME where udev runs).
const Port = "fcnode.messages"

// The guest's disks, in the order in which the host gives them: the root, the job, then these.
const (
	ScratchDevice = "/dev/vdc" // a small file system
	SwapDevice    = "/dev/vdd"
	AppsDevice    = "/dev/vde" // where there is one: the real applications
)

// Scratch and Apps are where those of them are mounted that are file systems.
const (
	Scratch = "/scratch"
	Apps    = "/apps"
)

// Job is what the guest shall run.
type Job struct {
	Binaries []Binary `json:"binaries"`
	// Env is added to the environment of each binary, as NAME=value.
	Env []string `json:"env"`
	// Modules are loaded first; one that this kernel has neither as a module nor built in is told, not an error:
	// the tests' feature table judges what may be missing.
	Modules []string `json:"modules"`
	// Silence is how long a test binary may print nothing; then it is made to show its goroutines and to end.
	Silence time.Duration `json:"silence"`
}

// Binary is one test binary, or the bench.
type Binary struct {
	Package string   `json:"package"` // import path
	Path    string   `json:"path"`    // on the job disk
	Dir     string   `json:"dir"`     // working directory, on the job disk
	Args    []string `json:"args"`
	// Systemd asks for systemd as process 1. Those binaries run last, on the whole machine.
	Systemd bool `json:"systemd"`
	// Plain tells that it is no test binary: its output is the result as it is, and its errors are notes.
	Plain bool `json:"plain"`
}

// Kind tells what a message means.
type Kind string

// The kinds of messages, in the order in which they come: boot, then start, output…, exit for each
// binary, then done. A run without done did not end well.
const (
	Boot   Kind = "boot"   // Text: the kernel's release
	Note   Kind = "note"   // Text: something worth showing
	Start  Kind = "start"  // Package
	Output Kind = "output" // Package, Text: what the binary printed
	Exit   Kind = "exit"   // Package, Code, Seconds
	Done   Kind = "done"
)

// Message is one line from the guest.
type Message struct {
	Kind    Kind    `json:"kind"`
	Package string  `json:"package,omitempty"`
	Text    string  `json:"text,omitempty"`
	Code    int     `json:"code,omitempty"`
	Seconds float64 `json:"seconds,omitempty"`
}
