package apparmor

import (
	"maps"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/fcnode/fcnode/tests/testutil"
)

func TestMain(m *testing.M) { testutil.Main(m) }

func TestList(t *testing.T) {
	got := parseList("/usr/bin/man (enforce)\nman_filter (complain)\na profile (of mine) (unconfined)\nplain\n")
	want := map[string]string{"/usr/bin/man": "enforce", "man_filter": "complain", "a profile (of mine)": "unconfined", "plain": ""}
	if !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestName: a profile of another text has another name, and the text has no other one in it.
func TestName(t *testing.T) {
	now := Name()
	if !strings.Contains(text(), "profile "+now+" ") || strings.Contains(text(), "@") {
		t.Errorf("the profile does not have its name %s:\n%s", now, text())
	}
	before := template
	t.Cleanup(func() { template = before })
	template += "\n"
	if Name() == now {
		t.Error("the name stayed the same")
	}
}

// confined runs a program under the profile, as the machine's root: no namespace, no mount, no filter and no missing
// capability holds it.
func confined(t *testing.T, argv ...string) (string, error) {
	t.Helper()
	type result struct {
		out []byte
		err error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends
		if err := os.WriteFile("/proc/thread-self/attr/apparmor/exec", []byte("exec "+Name()), 0); err != nil {
			done <- result{nil, err}
			return
		}
		out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
		done <- result{out, err}
	}()
	r := <-done
	return string(r.out), r.err
}

// TestRootProfile attacks as the machine's root, whom only the profile holds.
func TestRootProfile(t *testing.T) {
	testutil.Privileged(t)
	testutil.RequireFeature(t, "AppArmor")
	t.Cleanup(func() {
		if err := Unload(); err != nil || Loaded(Name()) == nil {
			t.Errorf("unloading: %v", err)
		}
	})
	if p, loaded := Look(t.Context()); p.Lack != nil || p.Own != Name() || loaded {
		t.Fatalf("before: %+v, %v", p, loaded)
	}
	for _, before := range []bool{false, true} { // the second is a daemon that is started again
		if p := Open(t.Context()); p.Lack != nil || p.Own != Name() {
			t.Fatalf("loaded before: %v, %+v", before, p)
		}
	}
	if p, loaded := Look(t.Context()); p.Lack != nil || p.Own != Name() || !loaded {
		t.Fatalf("after: %+v, %v", p, loaded)
	}
	if out, err := confined(t, "cat", "/proc/self/attr/current"); err != nil || out != Name()+" (enforce)\n" {
		t.Fatalf("%q, %v", out, err)
	}
	me, dir := strconv.Itoa(os.Getpid()), t.TempDir()
	group := "/sys/fs/cgroup/" + testutil.Unique(t)
	for name, tt := range map[string]struct {
		command  string
		harmless bool // without the profile: it shows that nothing else refuses it
		allowed  bool
	}{
		"setting":       {"v=$(cat /proc/sys/vm/swappiness) && echo $v > /proc/sys/vm/swappiness", true, false},
		"sysrq":         {"echo h > /proc/sysrq-trigger", true, false},
		"kcore":         {"head -c 1 /proc/kcore", false, false},
		"kernel log":    {"head -c 1 /proc/kmsg", false, false},
		"sysfs":         {"v=$(cat /sys/kernel/rcu_expedited) && echo $v > /sys/kernel/rcu_expedited", true, false},
		"mount":         {"mount -t tmpfs none " + dir + " && umount " + dir, true, false},
		"unmount":       {"umount /sys/fs/bpf", false, false},
		"signal":        {"kill -0 " + me, true, false},
		"read":          {"readlink /proc/" + me + "/cwd", true, false}, // not its memory, which newer kernels let CAP_PERFMON read without asking AppArmor
		"policy":        {"echo -n " + Name() + " > " + policyDir + "/.remove", false, false},
		"own child":     {"sleep 100 & cat /proc/$!/environ >/dev/null && kill $!", true, true},
		"own file":      {"echo a > " + dir + "/a && chown 1:1 " + dir + "/a && cat " + dir + "/a", true, true},
		"cgroup":        {"mkdir " + group + " && rmdir " + group, true, true},
		"read settings": {"cat /proc/sys/vm/swappiness /sys/kernel/rcu_expedited", true, true},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.harmless {
				if out, err := exec.Command("sh", "-ec", tt.command).CombinedOutput(); err != nil {
					t.Fatalf("without the profile: %s: %v, %s", tt.command, err, out)
				}
			}
			out, err := confined(t, "sh", "-ec", tt.command)
			if (err == nil) != tt.allowed || !tt.harmless && !strings.Contains(strings.ToLower(out), "permi") {
				t.Errorf("%s: %v, %s", tt.command, err, out)
			}
		})
	}
	// As some tools do with profiles that are in no file of /etc/apparmor.d.
	if err := Unload(); err != nil || Loaded(Name()) == nil {
		t.Fatalf("unloading: %v", err)
	}
	if err := Ensure(t.Context()); err != nil || Loaded(Name()) != nil {
		t.Errorf("a start does not load it again: %v", err)
	}
}
