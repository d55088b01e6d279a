package config

import (
	"errors"
	"strconv"

	"github.com/fcnode/fcnode/runtime/internal/strictyaml"
	"github.com/fcnode/fcnode/runtime/spec"
)

// Budget is what the node has to give to the sites whose limits are scaled, all together. Where they want more it is divided
// fairly.
type Budget struct {
	// CPU is in cores.
	CPU Cores `json:"cpu" also:"cpus"`
	// Memory is a size.
	Memory Size `json:"memory" also:"mem,ram"`
	// IO is what disks can do. Those that are not named have no budget: no kernel knows what a disk can do.
	IO []DiskBudget `json:"io,omitempty" also:"disk,disks,blkio"`
}

// DiskBudget is what one disk has to give in a second. Zero fields are not bounded.
type DiskBudget struct {
	// Device is the absolute path of a block device, or of something on the file system whose device is meant.
	Device     string     `json:"device" also:"path,dev,mount"`
	ReadBytes  spec.Bytes `json:"rbps,omitzero" also:"read,readbps"`
	WriteBytes spec.Bytes `json:"wbps,omitzero" also:"write,writebps"`
	Reads      int        `json:"riops,omitzero" also:"readiops"`
	Writes     int        `json:"wiops,omitzero" also:"writeiops"`
}

// Metrics says where they can be had besides the socket.
type Metrics struct {
	// Listen is an address and port, for the metrics alone. Whoever can reach it can read the names of sites. Empty: none.
	Listen string `json:"listen" also:"address,addr,port"`
}

// all is how the whole machine is written.
const all = "all"

// Cores is an amount of CPU time; 0 is all that the machine has.
type Cores float64

// MarshalText implements encoding.TextMarshaler.
func (c Cores) MarshalText() ([]byte, error) {
	if c == 0 {
		return []byte(all), nil
	}
	return strconv.AppendFloat(nil, float64(c), 'f', -1, 64), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (c *Cores) UnmarshalText(text []byte) error {
	if string(text) == all {
		*c = 0
		return nil
	}
	kind := strictyaml.KindFloat
	if _, err := strconv.Atoi(string(text)); err == nil {
		kind = strictyaml.KindInt
	}
	var cpu spec.CPU
	if err := cpu.DecodeScalar(strictyaml.Scalar{Kind: kind, Text: string(text)}); err != nil {
		return orAll(err)
	}
	*c = Cores(cpu)
	return nil
}

// Size is an amount of memory, or of disk; 0 is all that the machine has.
type Size spec.Bytes

// MarshalText implements encoding.TextMarshaler.
func (b Size) MarshalText() ([]byte, error) {
	if b == 0 {
		return []byte(all), nil
	}
	return []byte(spec.Bytes(b).String()), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (b *Size) UnmarshalText(text []byte) error {
	if string(text) == all {
		*b = 0
		return nil
	}
	n, err := spec.ParseBytes(string(text))
	if err != nil {
		return orAll(err)
	}
	*b = Size(n)
	return nil
}

// orAll adds the word for the whole machine to what is allowed.
func orAll(err error) error {
	var bad *strictyaml.Invalid
	if errors.As(err, &bad) {
		return strictyaml.Bad(bad.Allowed+", or "+all, "%s", bad.Msg)
	}
	return err
}
