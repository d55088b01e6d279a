package criu

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/checkpoint-restore/go-criu/v8/crit/images/userns"
	"google.golang.org/protobuf/proto"
)

// usernsPrefix begins the name of the one file of an image that has numbers of the
// machine of processes in a user namespace.
const usernsPrefix = "userns-"

// Relocate gives the name and the new content of the file of an image that says which
// numbers of the machine the users of its processes have, for a user namespace whose
// root is the machine's user root. It has as many users as it had. The image stays as it is.
func Relocate(images string, root uint32) (name string, content []byte, err error) {
	files, err := os.ReadDir(images)
	if err != nil {
		return "", nil, fmt.Errorf("reading an image: %w", err)
	}
	for _, f := range files {
		if strings.HasPrefix(f.Name(), usernsPrefix) {
			content, err = relocate(filepath.Join(images, f.Name()), root)
			return f.Name(), content, err
		}
	}
	return "", nil, fmt.Errorf("%w: it has no user namespace", ErrUnusable)
}

// usernsHeader is what the file has in front of its one message: two magic numbers and the message's
// size (magic.h and image-desc.c of CRIU).
type usernsHeader struct{ Common, Kind, Size uint32 }

var usernsMagic = usernsHeader{Common: 0x54564319, Kind: 0x55474906}

func relocate(path string, root uint32) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading an image: %w", err)
	}
	var h usernsHeader
	n, err := binary.Decode(b, binary.LittleEndian, &h)
	if err != nil || h.Common != usernsMagic.Common || h.Kind != usernsMagic.Kind || int(h.Size) != len(b)-n {
		return nil, fmt.Errorf("%w: %s has another form than this version of fcnode knows", ErrUnusable, filepath.Base(path))
	}
	var entry userns.UsernsEntry
	if err := proto.Unmarshal(b[n:], &entry); err != nil {
		return nil, fmt.Errorf("%w: reading %s: %w", ErrUnusable, filepath.Base(path), err)
	}
	for _, ids := range [][]*userns.UidGidExtent{entry.GetUidMap(), entry.GetGidMap()} {
		if len(ids) != 1 || ids[0].GetFirst() != 0 {
			return nil, fmt.Errorf("%w: its users are not one range from 0 on", ErrUnusable)
		}
		ids[0].LowerFirst = proto.Uint32(root)
	}
	message, err := proto.Marshal(&entry)
	if err != nil {
		return nil, fmt.Errorf("encoding %s: %w", filepath.Base(path), err)
	}
	h.Size = uint32(len(message)) //nolint:gosec // of a message that was as long
	out, err := binary.Append(nil, binary.LittleEndian, h)
	return append(out, message...), err
}
