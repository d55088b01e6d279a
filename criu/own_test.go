package criu

import (
	"context"
	"net"
	"os"
	"slices"
	"testing"
)

const tcpTable = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:2328 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 100 1 0 100 0 0 10 0
   1: 0100007F:2328 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 101 1 0 100 0 0 10 0
   2: 0100007F:C350 0100007F:2328 01 00000000:00000000 00:00000000 00000000     0        0 102 1 0 100 0 0 10 0
   3: 0100007F:C351 0100007F:2328 06 00000000:00000000 03:00000a00 00000000     0        0 0 3 0
   4: 0A004D0A:0050 027133C6:D431 01 00000000:00000000 00:00000000 00000000     0        0 103 1 0 100 0 0 10 0
   5: 0A004D0A:D431 0A004D0A:0051 01 00000000:00000000 00:00000000 00000000     0        0 104 1 0 100 0 0 10 0
   6: 0A004D0A:0051 0A004D0A:D431 01 00000000:00000000 00:00000000 00000000     0        0 0 1 0 100 0 0 10 0
   8: 0A004D0A:D432 0A004D0A:0051 05 00000000:00000000 00:00000000 00000000     0        0 0 1 0 100 0 0 10 0
   9: 0A004D0A:0051 0A004D0A:D432 08 00000000:00000000 00:00000000 00000000     0        0 106 1 0 100 0 0 10 0
   7: 0A004D0A:0051 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 105 1 0 100 0 0 10 0
`

func TestOwnConnectionsOfATable(t *testing.T) {
	for _, c := range []struct {
		name string
		held []string
		want []string
	}{
		{"both ends", []string{"100", "101", "102"}, []string{"127.0.0.1:9000"}},
		{"not accepted yet", []string{"0", "104"}, []string{"10.77.0.10:81"}},
		{"a visitor on the same machine", []string{"100", "101"}, nil},
		{"a visitor from inside who has gone", []string{"0", "106"}, nil},
		{"a visitor from outside", []string{"103"}, nil},
	} {
		held := map[string]bool{}
		for _, inode := range c.held {
			held[inode] = true
		}
		got, err := ownConnections(tcpTable, held)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, %v, want %v", c.name, got, err, c.want)
		}
	}
	if _, err := ownConnections("head\n 0: nonsense:0050 00000000:0000 01 a b c d e 0\n", nil); err == nil {
		t.Error("nonsense was read as an address")
	}
}

// TestOwnConnections asks the kernel about connections of this process, of both families.
func TestOwnConnections(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", addr)
		if err != nil {
			t.Skipf("listening on %s: %v", addr, err)
		}
		before, err := OwnConnections([]int{os.Getpid()})
		if err != nil || slices.Contains(before, l.Addr().String()) {
			t.Errorf("before anybody has connected to %s: %v, %v", l.Addr(), before, err)
		}
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if got, err := OwnConnections([]int{os.Getpid()}); err != nil || !slices.Contains(got, l.Addr().String()) {
			t.Errorf("connected to %s: %v, %v", l.Addr(), got, err)
		}
		_, _ = c.Close(), l.Close() // nothing was written
	}
}
