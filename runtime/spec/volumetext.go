package spec

import (
	"strings"

	"github.com/fcnode/fcnode/runtime/internal/strictyaml"
)

const volumeAllowed = "NAME:TARGET, /HOST:TARGET or nfs://SERVER/PATH:TARGET, with :ro, :rw, :noexec, :soft or several of them behind it"

// ParseVolume reads a volume as it is named on a command line: NAME:TARGET for one
// that the node keeps, /HOST:TARGET for a path of the node, nfs://SERVER/PATH:TARGET
// for a folder that a server exports, each with options behind it, :ro or :ro,noexec. Errors are of type *strictyaml.Invalid.
func ParseVolume(text string) (Volume, error) {
	server := ""
	if IsNFS(text) { // there are colons in what is before its path
		path := strings.IndexByte(text[len(nfsScheme):], '/')
		if path < 0 {
			return Volume{}, strictyaml.Bad(volumeAllowed, "%q is no volume", text)
		}
		server, text = text[:len(nfsScheme)+path], text[len(nfsScheme)+path:]
	}
	from, rest, ok := strings.Cut(text, ":")
	target, options, _ := strings.Cut(rest, ":")
	if !ok || from == "" || target == "" {
		return Volume{}, strictyaml.Bad(volumeAllowed, "%q is no volume", text)
	}
	v := Volume{Name: from, Target: target}
	if strings.HasPrefix(from, "/") {
		v.Name, v.Source = "", server+from
	}
	if options == "" {
		return v, nil
	}
	for o := range strings.SplitSeq(options, ",") {
		switch o {
		case "ro":
			v.ReadOnly = true
		case "rw":
		case "noexec":
			v.NoExec = true
		case "soft":
			v.Soft = true
		default:
			return Volume{}, strictyaml.Bad(volumeAllowed, "%q is no option of a volume", o)
		}
	}
	return v, nil
}
