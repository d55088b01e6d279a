package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fcnode/fcnode/detect"
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/demo/stage"
	"github.com/fcnode/fcnode/runtime/event"
)

// options of a run.
type options struct {
	fcnode string  // the program
	apps   string  // folder that tests/apps/build.sh has made
	scale  float64 // how much slower than a real machine this one is
	rate   float64 // of requests while the site circulates, a second
	rounds int     // of wakes from each tier that are measured; 0: it is shown
	write  string  // where to write what was measured; empty: nowhere
}

// report is what a run has shown.
type report struct {
	Wakes []wake `json:"wakes"`
	// Missing says of each tier that was not shown what the node lacks for it.
	Missing map[detect.Tier]string `json:"missing"`
	// Requests were sent while the site circulated to the new release, Failed of them got no article.
	Requests int               `json:"requests"`
	Failed   map[string]string `json:"failed"`
	Releases []string          `json:"releases"`
}

// wake is one to the rendered article.
type wake struct {
	Tier      detect.Tier   `json:"tier"`
	FirstByte time.Duration `json:"firstByteNs"`
	Running   time.Duration `json:"runningNs"` // of the same page right after it
}

// scenario is one that is under way.
type scenario struct {
	stage.Teller
	options
	report
	seen     uint64 // number of the last event that was looked at
	programs []*program
	customer customer
	blog     *blog
	digests  map[string]string // of the image's releases
	current  string            // the release that visitors are to get
}

// run plays it on a stage that is set but not started, and takes what it has started away.
func (s *scenario) run(ctx context.Context) (err error) {
	defer func() {
		for _, p := range s.programs {
			err = errors.Join(err, p.stop())
		}
	}()
	steps := []func(context.Context) error{s.startBeside, s.start, s.deploy, s.publish}
	if s.rounds > 0 {
		steps = append(steps, s.measure)
	} else {
		steps = append(steps, s.sleepAndWake, s.whoCame, s.nextCustomer, s.renew)
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// patience is how long a step may take.
func (s *scenario) patience() time.Duration { return time.Duration(float64(time.Minute) * s.scale) }

var (
	first  = customer{name: "blog", domain: "blog.example.com", password: "Tr0ub4dor"}
	second = customer{name: "shop", domain: "shop.example.com", password: "hunter2"}
)

// startBeside starts what is no site: a registry with the image, and the database.
func (s *scenario) startBeside(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.patience())
	defer cancel()
	s.Say("An image of Apache, PHP and WordPress with its theme, of Debian's packages, is written as an OCI layout and pushed into a registry on loopback:")
	registry, err := startRegistry(ctx, s.Stage, s.apps)
	s.programs = append(s.programs, registry)
	if err != nil {
		return err
	}
	s.customer, s.digests = first, map[string]string{}
	if err := os.Mkdir(s.File("sites"), 0o700); err != nil { // the node's folder of specs
		return err
	}
	if err := s.release(ctx, "1"); err != nil {
		return err
	}
	s.Say("MariaDB runs on a machine of its own at %s, by TCP. Each customer has a database and a user there:", dbAddr)
	fmt.Fprint(s.Stdout, indent(first.sql()))
	db, err := startDatabase(ctx, s.Stage, s.apps, first.sql()+second.sql())
	if db != nil {
		s.programs = append(s.programs, db)
	}
	return err
}

// start starts the node.
func (s *scenario) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.patience())
	defer cancel()
	return s.Start(ctx)
}

// release writes and pushes one of the image.
func (s *scenario) release(ctx context.Context, release string) error {
	layout := s.File("layout")
	digest, err := writeImage(layout, s.apps, release)
	if err != nil {
		return fmt.Errorf("write the image: %w", err)
	}
	s.digests[release], s.current = digest, release
	ref := imageOf(release)
	fmt.Fprintf(s.Stdout, "    oci:%s:%s → %s  %s\n", layout, release, ref, digest)
	return push(ctx, layout, digest, ref)
}

func indent(text string) string {
	return "    " + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n    ") + "\n"
}

// file is the path of a site's spec.
func (s *scenario) file(c customer) string { return filepath.Join(s.File("sites"), c.name+".yaml") }

// change changes the text of a site's spec, and has the node apply it.
func (s *scenario) change(ctx context.Context, c customer, how func(string) string) error {
	text, err := os.ReadFile(s.file(c))
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.file(c), []byte(how(string(text))), 0o600); err != nil {
		return err
	}
	return s.Fcnode(ctx, "apply", "-f", s.file(c))
}

// make deploys a customer's site.
func (s *scenario) make(ctx context.Context, c customer) error {
	if err := s.Fcnode(ctx, c.deploy(s.current)...); err != nil {
		return err
	}
	return s.change(ctx, c, func(text string) string { return text + c.further() })
}

// deploy deploys the first site.
func (s *scenario) deploy(ctx context.Context) error {
	s.Say("One command makes the site; its files are a volume, which is filled from the image. What the command has no flag for is added to its spec:")
	if err := s.make(ctx, s.customer); err != nil {
		return err
	}
	if err := s.ShowFile(s.file(s.customer)); err != nil {
		return err
	}
	var err error
	s.blog, err = s.visit(ctx, s.customer)
	return err
}

// visit is a customer's blog as a visitor reaches it.
func (s *scenario) visit(ctx context.Context, c customer) (*blog, error) {
	site, err := s.API.Get(ctx, c.name)
	if err != nil {
		return nil, err
	}
	return newBlog(s.Stage, c.domain, site.Addresses[0].String(), s.patience()), nil
}

// publish installs WordPress and publishes the article.
func (s *scenario) publish(ctx context.Context) error {
	s.Say("Its owner fills the form of installation in, logs in, uploads a picture and posts an article through the REST API:")
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{{"install", s.blog.install}, {"log in", s.blog.login}, {"publish", s.blog.publish}} {
		begin := time.Now()
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
		fmt.Fprintf(s.Stdout, "    %-8s %6s\n", step.what, time.Since(begin).Round(time.Millisecond))
	}
	fmt.Fprintf(s.Stdout, "\n    http://%s%s\n    %s\n", s.blog.domain, s.blog.articlePath, s.blog.pictureURL)
	return s.intact(ctx)
}

// intact reads the article and looks at the picture.
func (s *scenario) intact(ctx context.Context) error {
	if _, err := s.blog.read(ctx); err != nil {
		return err
	}
	return s.blog.look(ctx)
}

// sleepAndWake lets the site sleep in each tier and wakes it.
func (s *scenario) sleepAndWake(ctx context.Context) error {
	s.Missing = map[detect.Tier]string{}
	for _, tier := range []detect.Tier{api.TierFrozen, api.TierReclaimed, api.TierCheckpointed, api.TierPrepared, api.TierCold} {
		if err := s.tier(ctx, tier); err != nil {
			return fmt.Errorf("%s: %w", tier, err)
		}
	}
	s.Say("To the first byte of the article:")
	fmt.Fprintf(s.Stdout, "    %-13s %10s  %10s\n", "from", "woken", "then")
	for _, w := range s.Wakes {
		fmt.Fprintf(s.Stdout, "    %-13s %10s  %10s\n", w.Tier, w.FirstByte.Round(100*time.Microsecond), w.Running.Round(100*time.Microsecond))
	}
	for tier, why := range s.Missing {
		fmt.Fprintf(s.Stdout, "    %-13s not here: %s\n", tier, why)
	}
	return nil
}

// tier lets the site sleep in one and wakes it by a visitor to the article.
func (s *scenario) tier(ctx context.Context, tier detect.Tier) error {
	ctx, cancel := context.WithTimeout(ctx, 2*s.patience())
	defer cancel()
	s.Say("%s: a second without a connection, and the site sleeps so.", strings.ToUpper(string(tier)))
	if err := s.Fcnode(ctx, "park", "--force", s.customer.name); err != nil { // so that it is a fresh replica that gets the visits
		return err
	}
	if err := s.change(ctx, s.customer, func(text string) string { return sleeping(text, string(tier)) }); err != nil {
		return err
	}
	if err := s.intact(ctx); err != nil {
		return err
	}
	why, err := s.asleep(ctx, tier)
	if err != nil || why != "" {
		if why != "" {
			s.Missing[tier] = why
			fmt.Fprintf(s.Stdout, "    this machine cannot: %s\n", why)
		}
		return err
	}
	if err := s.Fcnode(ctx, "list"); err != nil {
		return err
	}
	a, err := s.blog.read(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.Stdout, "client$ curl http://%s%s        (%d bytes, rendered after %s)\n\n", s.blog.domain, s.blog.articlePath, len(a.body), a.took.Round(10*time.Microsecond))
	trace, err := s.woken(ctx)
	if err != nil {
		return err
	}
	if err := s.Fcnode(ctx, "trace", s.customer.name); err != nil {
		return err
	}
	if err := s.blog.look(ctx); err != nil {
		return err
	}
	return s.record(ctx, tier, trace)
}

// asleep waits until the site sleeps in a tier, or says why it does not.
func (s *scenario) asleep(ctx context.Context, tier detect.Tier) (why string, err error) {
	reached, not := event.Kind(tier), event.Kind("not-"+tier)
	if tier == api.TierCold {
		reached = event.Parked
	}
	for ev, err := range s.API.Events(ctx, event.Query{Site: s.customer.name, Since: s.seen, Follow: true}) {
		if err != nil {
			return "", err
		}
		s.seen = ev.Seq
		switch ev.Kind {
		case reached:
			// On a busy machine it may have slept between two of the visits before.
			if asleep, err := s.stays(ctx); err != nil || asleep {
				return "", err
			}
		case not:
			return ev.Reason + " " + ev.Text, nil
		case event.Parked, event.Frozen: // another one in its place, or on the way
			if why, err := s.unused(ctx, tier); err != nil || why != "" {
				return why, err
			}
		}
	}
	return "", fmt.Errorf("the site does not sleep: %w", ctx.Err())
}

// stays tells whether the site has not been woken since an event that is the last one seen.
func (s *scenario) stays(ctx context.Context) (bool, error) {
	for ev, err := range s.API.Events(ctx, event.Query{Site: s.customer.name, Since: s.seen}) {
		if err != nil {
			return false, err
		}
		if s.seen = ev.Seq; ev.Kind == event.Waking {
			return false, nil
		}
	}
	return true, nil
}

// unused is why the node does not use a tier; empty: it does.
func (s *scenario) unused(ctx context.Context, tier detect.Tier) (string, error) {
	site, err := s.API.Get(ctx, s.customer.name)
	if err != nil {
		return "", err
	}
	for _, r := range site.LadderUnused {
		if r.Tier == tier {
			return r.Reason, nil
		}
	}
	return "", nil
}

// woken waits for the end of the wake and gives its trace.
func (s *scenario) woken(ctx context.Context) (event.Trace, error) {
	for ev, err := range s.API.Events(ctx, event.Query{Site: s.customer.name, Since: s.seen, Follow: true}) {
		if err != nil {
			return event.Trace{}, err
		}
		s.seen = ev.Seq
		if trace, ok := ev.Trace(); ok {
			return trace, nil
		}
	}
	return event.Trace{}, fmt.Errorf("the wake does not end: %w", ctx.Err())
}

// record notes a wake, which must have been one from the tier.
func (s *scenario) record(ctx context.Context, tier detect.Tier, trace event.Trace) error {
	if trace.From != tier || trace.Result != event.ResultOK {
		return fmt.Errorf("the visitor has woken the site otherwise: %+v", trace)
	}
	w := wake{Tier: tier}
	for _, step := range trace.Steps {
		if step.Name == event.StepFirstByte {
			w.FirstByte = step.At.Duration()
		}
	}
	if w.FirstByte == 0 {
		return fmt.Errorf("the trace has no first byte: %+v", trace)
	}
	a, err := s.blog.read(ctx)
	if err != nil {
		return err
	}
	w.Running = a.took
	s.Wakes = append(s.Wakes, w)
	return nil
}

// whoCame shows that the application sees its visitors' own address.
func (s *scenario) whoCame(ctx context.Context) error {
	s.Say("Nothing stands between visitor and site, so its log has the visitor's own address:")
	if err := s.Fcnode(ctx, "logs", "--tail", "3", s.customer.name); err != nil {
		return err
	}
	visit := stage.ClientAddr + ` "GET ` + s.blog.articlePath + ` HTTP/1.1" 200`
	for line, err := range s.API.Logs(ctx, s.customer.name, api.LogOptions{Tail: -1}) {
		if err != nil {
			return err
		}
		if strings.HasPrefix(line.Text, visit) {
			return nil
		}
	}
	return fmt.Errorf("no line of the site's log begins with %q", visit)
}

// nextCustomer deploys another site of the same image, which has nothing of the first one's.
func (s *scenario) nextCustomer(ctx context.Context) error {
	s.Say("The next customer's site shares the image, and nothing else:")
	if err := s.make(ctx, second); err != nil {
		return err
	}
	other, err := s.visit(ctx, second)
	if err != nil {
		return err
	}
	isNew, err := other.isNew(ctx)
	if err == nil && !isNew {
		err = fmt.Errorf("the new site %s does not ask to be installed", second.name)
	}
	if err != nil {
		return err
	}
	return s.Fcnode(ctx, "volume", "list")
}
