package e2e

import (
	"os"
	"strings"
	"testing"

	"github.com/fcnode/fcnode/runtime/image"
	"github.com/fcnode/fcnode/runtime/image/build"
	"github.com/fcnode/fcnode/tests/testutil"
)

// oddImages are images that are odd. What says why is empty of those that serve.
var oddImages = []struct {
	name    string
	cfg     image.Config
	entries []build.Entry
	why     string
}{
	{"a VOLUME at a file", image.Config{Volumes: []string{"/srv/data"}}, []build.Entry{build.File("srv/data", 0o644, []byte("x"))},
		"a volume cannot be mounted at /srv/data: /srv/data of the image cannot be used as a folder: not a directory; mount it elsewhere, or say imageVolumes: ignore"},
	{"a VOLUME at a link to nowhere", image.Config{Volumes: []string{"/srv/data"}}, []build.Entry{build.Symlink("srv/data", "/var/data")}, ""},
	{"a USER that is not there", image.Config{User: "web"}, nil, `user "web": unable to find user web`},
	{"a USER that no namespace has", image.Config{User: "70000"}, nil, "user or group 70000 is none of the site's user namespace, which has 0 to 65535"},
	{"a USER by number, which passwd does not know", image.Config{User: "1234"}, nil, ""},
	{"passwd as an absolute link", image.Config{User: "web"}, []build.Entry{build.Symlink("etc/passwd", "/usr/passwd"), build.File("usr/passwd", 0o644, []byte("web:x:33:33::/:/\n"))}, ""},
	{"passwd as a link to the node's", image.Config{User: "daemon"}, []build.Entry{build.Symlink("etc/passwd", "../../../../../../etc/passwd")}, `user "daemon": unable to find user daemon`},
	{"a WORKDIR at a file", image.Config{WorkingDir: "/srv/data"}, []build.Entry{build.File("srv/data", 0o644, nil)}, "the working folder /srv/data of container odd: /srv/data of the image cannot be used as a folder: not a directory"},
	{"a WORKDIR by a link to nowhere", image.Config{WorkingDir: "/srv/data"}, []build.Entry{build.Symlink("srv/data", "../../../../none")}, "is a link to what is not there"},
	{"a WORKDIR that is not there", image.Config{WorkingDir: "/srv/data"}, nil, ""},
	{"an ENTRYPOINT that is not there", image.Config{Entrypoint: []string{"/bin/app"}}, nil, "there is no executable file /bin/app in the image"},
	{"an ENTRYPOINT without a first line", image.Config{Entrypoint: []string{"/app"}}, []build.Entry{build.File("app", 0o755, []byte("exec /site\n"))}, "/app in the image of container odd cannot be executed: it is neither an ELF program nor a script"},
	{"an ENTRYPOINT of another system", image.Config{Entrypoint: []string{"/app"}}, []build.Entry{build.File("app", 0o755, []byte("#!/site\r\n"))}, "ends in a carriage return"},
	{"an ENTRYPOINT by links in a circle", image.Config{Entrypoint: []string{"/app"}}, []build.Entry{build.Symlink("app", "ppa"), build.Symlink("ppa", "app")}, "there is no executable file /app"},
	{"/proc as a link", image.Config{}, []build.Entry{build.Symlink("proc", "srv")}, "/proc of the image has to be a folder"},
	{"/dev as a file", image.Config{}, []build.Entry{build.File("dev", 0o644, nil)}, "/dev of the image has to be a folder"},
	{"/dev as a link", image.Config{}, []build.Entry{build.Symlink("dev", "srv")}, ""},
	{"STOPSIGNAL nonsense", image.Config{StopSignal: "nonsense"}, nil, `its stop signal: "nonsense" is no signal`},
	{"STOPSIGNAL from above", image.Config{StopSignal: "SIGRTMAX-2"}, nil, ""},
	{"ENV without a value", image.Config{Env: []string{"A"}}, nil, `"A" in its environment is no NAME=value`},
}

// TestRootOddImages: what no site can ever start from is refused when it is applied, and changes nothing; what is only odd serves.
func TestRootOddImages(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newNode(t, options{})
	for _, odd := range oddImages {
		if odd.cfg.Entrypoint == nil {
			odd.cfg.Entrypoint = []string{"/site"}
		}
		ref, _ := n.layout(odd.cfg, append(odd.entries, build.File("top", 0o644, nil))...) // two layers
		text := strings.Replace(strings.Replace(n.spec("odd"), n.image(), ref, 1), "command: [/site]\n", "", 1)
		if odd.why == "" {
			n.outside.greet(n.apply(text).addr4(80))
			n.cli("delete", "odd", "--purge")
			continue
		}
		says(t, odd.name, n.cliFails("apply", "-f", n.write("odd.yaml", text)), "odd.yaml:2:", "it cannot start from "+ref+": ", odd.why)
		if out := n.cli("list"); strings.Contains(out, "odd") {
			t.Errorf("%s: was refused, and there is\n%s", odd.name, out)
		}
	}
}

// TestRootOddFolder: a folder may change, so who applies a site on one that it cannot start from is told, and a wake says the same. In
// the folder of specs an image that is odd keeps no other site back.
func TestRootOddFolder(t *testing.T) {
	testutil.Privileged(t)
	t.Parallel()
	n := newMachine(t, options{})
	ref, _ := n.layout(image.Config{Entrypoint: []string{"/site"}, User: "web"})
	n.write("sites/a.yaml", strings.Replace(n.spec("odd"), n.image(), ref, 1))
	n.write("sites/b.yaml", n.spec("plain"))
	n.write("image/app", "#!/site\r\n")
	n.start()
	plain := &site{n: n, name: "plain"}
	for _, a := range plain.get().Addresses {
		plain.setAddr(a)
	}
	n.outside.greet(plain.addr4(80))
	says(t, "events", n.cli("events", "--site", "odd"), "it cannot start from "+ref+`: user "web"`)

	says(t, "apply", n.cli("apply", "-f", n.write("folder.yaml", n.spec("folder", "command: [/app]"))), "there is no executable file /app in the image")
	if err := os.Chmod(n.path("image/app"), 0o755); err != nil {
		t.Fatal(err)
	}
	says(t, "apply", n.cli("apply", "-f", n.path("folder.yaml")), "ends in a carriage return")
	s := &site{n: n, name: "folder"}
	for _, a := range s.get().Addresses {
		s.setAddr(a)
	}
	mark := n.mark()
	if _, err := n.outside.connect(s.addr4(80)); err == nil {
		t.Error("it serves")
	}
	if ev := s.await(mark, "failed"); !strings.Contains(ev.Reason, "ends in a carriage return") {
		t.Errorf("the event says %q", ev.Reason)
	}
}
