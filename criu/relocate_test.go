package criu

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/checkpoint-restore/go-criu/v8/crit/images/userns"
	"google.golang.org/protobuf/proto"
)

func usernsImage(t *testing.T, entry *userns.UsernsEntry) []byte {
	t.Helper()
	message, err := proto.Marshal(entry)
	if err != nil {
		t.Fatal(err)
	}
	h := usernsMagic
	h.Size = uint32(len(message))
	b, err := binary.Append(nil, binary.LittleEndian, h)
	if err != nil {
		t.Fatal(err)
	}
	return append(b, message...)
}

func usersFrom(first, lower uint32) *userns.UsernsEntry {
	one := func() []*userns.UidGidExtent {
		return []*userns.UidGidExtent{{First: proto.Uint32(first), LowerFirst: proto.Uint32(lower), Count: proto.Uint32(1 << 16)}}
	}
	return &userns.UsernsEntry{UidMap: one(), GidMap: one()}
}

// TestRelocate: nothing but the range changes, and the image itself does not.
func TestRelocate(t *testing.T) {
	dir := t.TempDir()
	before := usernsImage(t, usersFrom(0, 1879048192))
	path := filepath.Join(dir, "userns-13.img")
	for name, content := range map[string][]byte{"userns-13.img": before, "core-1.img": []byte("x")} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	name, content, err := Relocate(dir, 2000027648)
	if err != nil || name != "userns-13.img" || !bytes.Equal(content, usernsImage(t, usersFrom(0, 2000027648))) {
		t.Errorf("%s %x %v", name, content, err)
	}
	if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, before) {
		t.Errorf("the image has been changed: %x, %v", now, err)
	}
}

// TestRelocateRefuses: what has another form than this package knows is of no use.
func TestRelocateRefuses(t *testing.T) {
	good := usernsImage(t, usersFrom(0, 1879048192))
	magic := bytes.Clone(good)
	magic[4]++
	two := usersFrom(0, 1)
	two.GidMap = append(two.GidMap, two.GidMap[0])
	for what, content := range map[string][]byte{
		"cut": good[:len(good)-1], "longer": append(bytes.Clone(good), 0), "empty": nil, "another kind": magic,
		"not from 0": usernsImage(t, usersFrom(1, 1879048192)), "two ranges": usernsImage(t, two), "none": usernsImage(t, &userns.UsernsEntry{}),
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "userns-1.img"), content, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := Relocate(dir, 1); !errors.Is(err, ErrUnusable) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, _, err := Relocate(t.TempDir(), 1); !errors.Is(err, ErrUnusable) {
		t.Errorf("no such file: %v", err)
	}
}
