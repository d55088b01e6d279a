package archive

import (
	"archive/tar"
	"bytes"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// archive/tar reads files with holes and cannot write them. They are written as GNU
// tar does (sparse format 1.0 of its manual): the file of the archive begins with a map of
// its data, and PAX records have its name and its size.

// extent is a part of a file that has data, in bytes.
type extent struct{ at, size int64 }

// Bounds of the map: a smaller hole is data, and a longer map than readers take means
// that the file is packed whole.
const (
	leastHole  = 1 << 16
	mostExtent = 16384
)

// dataOf gives the parts of a file that have data; nil: all of it, or too many.
func dataOf(f *os.File, st *unix.Stat_t) []extent {
	if st.Blocks*512 >= st.Size || st.Size < leastHole {
		return nil
	}
	fd := int(f.Fd())
	parts := []extent{}
	for at := int64(0); at < st.Size; {
		begin, err := unix.Seek(fd, at, unix.SEEK_DATA)
		if err == unix.ENXIO { // a hole up to the end
			break
		}
		if err != nil {
			return nil
		}
		end, err := unix.Seek(fd, begin, unix.SEEK_HOLE)
		if err != nil {
			return nil
		}
		begin, end = min(begin, st.Size), min(end, st.Size)
		if n := len(parts); n > 0 && begin-(parts[n-1].at+parts[n-1].size) < leastHole {
			parts[n-1].size = end - parts[n-1].at
		} else if n == mostExtent {
			return nil
		} else if end > begin {
			parts = append(parts, extent{begin, end - begin})
		}
		at = end
	}
	if len(parts) == 1 && parts[0].size == st.Size {
		return nil
	}
	return parts
}

const block = 512

// sparse packs a regular file by its data.
func (p *packer) sparse(f *os.File, hdr *tar.Header, parts []extent) error {
	var stored int64
	var list strings.Builder
	// The last one says where the file ends, as GNU tar has it.
	all := append(slices.Clip(parts), extent{hdr.Size, 0})
	fmt.Fprintf(&list, "%d\n", len(all))
	for _, part := range all {
		fmt.Fprintf(&list, "%d\n%d\n", part.at, part.size)
		stored += part.size
	}
	head := pad([]byte(list.String()))
	records := map[string]string{
		"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": hdr.Name, "GNU.sparse.realsize": strconv.FormatInt(hdr.Size, 10),
		"size": strconv.FormatInt(int64(len(head))+stored, 10), "uid": strconv.Itoa(hdr.Uid), "gid": strconv.Itoa(hdr.Gid),
		"mtime": paxTime(hdr.ModTime),
	}
	maps.Copy(records, hdr.PAXRecords)
	var pax bytes.Buffer
	for _, key := range slices.Sorted(maps.Keys(records)) {
		pax.WriteString(paxRecord(key, records[key]))
	}
	first, err := header(tar.TypeXHeader, &tar.Header{Name: "PaxHeaders.0/file", Size: int64(pax.Len()), Mode: 0o600})
	if err != nil {
		return fmt.Errorf("pack %s: %w", hdr.Name, err)
	}
	second, err := header(tar.TypeReg, &tar.Header{Name: "GNUSparseFile.0/file", Mode: hdr.Mode})
	if err != nil {
		return fmt.Errorf("pack %s: %w", hdr.Name, err)
	}
	if err := p.tar.Flush(); err != nil {
		return err
	}
	for _, b := range [][]byte{first, pad(pax.Bytes()), second, head} {
		if _, err := p.out.Write(b); err != nil {
			return err
		}
	}
	p.result.Files++
	for _, part := range parts {
		if err := p.copy(p.out, f, hdr.Name, part); err != nil {
			return err
		}
	}
	_, err = p.out.Write(make([]byte, (block-stored%block)%block))
	return err
}

// header is a block of the old format, of a type that archive/tar does not write.
func header(kind byte, hdr *tar.Header) ([]byte, error) {
	const typeAt, sumAt, sumLen = 156, 148, 8
	hdr.Typeflag, hdr.Format = tar.TypeReg, tar.FormatUSTAR
	var out bytes.Buffer
	if err := tar.NewWriter(&out).WriteHeader(hdr); err != nil {
		return nil, err
	}
	b := out.Bytes()
	b[typeAt] = kind
	copy(b[sumAt:], strings.Repeat(" ", sumLen))
	sum := 0
	for _, c := range b {
		sum += int(c)
	}
	copy(b[sumAt:], fmt.Sprintf("%06o\x00 ", sum))
	return b, nil
}

// paxRecord begins with its own length, in decimal digits.
func paxRecord(key, value string) string {
	rest := " " + key + "=" + value + "\n"
	size := len(rest)
	for n := size + len(strconv.Itoa(size)); n != size; n = len(rest) + len(strconv.Itoa(size)) {
		size = n
	}
	return strconv.Itoa(size) + rest
}

// paxTime is a decimal number of seconds, whose fraction counts away from 1970.
func paxTime(t time.Time) string {
	sign, sec, nsec := "", t.Unix(), t.Nanosecond()
	if sec < 0 && nsec > 0 {
		sign, sec, nsec = "-", -(sec + 1), int(time.Second)-nsec
	}
	return fmt.Sprintf("%s%d.%09d", sign, sec, nsec)
}

func pad(b []byte) []byte { return append(b, make([]byte, (block-len(b)%block)%block)...) }
