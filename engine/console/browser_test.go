// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package console_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/console"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/kv"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/node"
	"github.com/holdfastdb/terraform-provider-holdfast/test/cluster"
)

// patience is for a browser that starts on a busy machine.
const patience = 60 * time.Second

// browser starts a headless Chromium that lives as long as the test.
func browser(t *testing.T) context.Context {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: no browser is started")
	}
	path := os.Getenv("HOLDFAST_CHROMIUM")
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path == "" {
			path, _ = exec.LookPath(name)
		}
	}
	if path == "" {
		t.Skip("no Chromium here: the console is not looked at in a browser. `make browser` installs it as root; or set HOLDFAST_CHROMIUM")
	}
	home := t.TempDir()
	opts := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]), chromedp.ExecPath(path),
		chromedp.Flag("hide-scrollbars", false), chromedp.Flag("lang", "en-GB"), chromedp.UserDataDir(filepath.Join(home, "profile")),
		// What it leaves behind goes with the test.
		chromedp.Env("TMPDIR="+home, "HOME="+home, "XDG_CONFIG_HOME="+home, "XDG_CACHE_HOME="+home))
	if os.Geteuid() == 0 {
		opts = append(opts, chromedp.NoSandbox) // Chromium refuses to have one as root
	}
	alloc, cancel := chromedp.NewExecAllocator(t.Context(), opts...)
	t.Cleanup(cancel)
	ctx, cancelTab := chromedp.NewContext(alloc)
	t.Cleanup(cancelTab)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("starting %s: %v", path, err)
	}
	return ctx
}

// tab opens a page and collects what the browser complains of.
type tab struct {
	t   *testing.T
	ctx context.Context
	mu  struct {
		sync.Mutex
		complaints []string
		loaded     []string // URLs
	}
}

func open(t *testing.T, parent context.Context, url string, width, height int64, scheme string) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(parent)
	t.Cleanup(cancel)
	p := &tab{t: t, ctx: ctx}
	if err := chromedp.Listen(ctx, func(event any) {
		p.mu.Lock()
		defer p.mu.Unlock()
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			p.mu.complaints = append(p.mu.complaints, fmt.Sprintf("an exception: %+v", e.ExceptionDetails))
		case *runtime.EventConsoleAPICalled:
			p.mu.complaints = append(p.mu.complaints, fmt.Sprintf("console.%s was called", e.Type))
		case *cdplog.EventEntryAdded: // what the policy refused is here, too
			p.mu.complaints = append(p.mu.complaints, fmt.Sprintf("%s: %s %s", e.Entry.Level, e.Entry.Text, e.Entry.URL))
		case *network.EventRequestWillBeSent:
			p.mu.loaded = append(p.mu.loaded, e.Request.URL)
		}
	}); err != nil {
		t.Fatal(err)
	}
	send(p, network.Enable, network.EnableParams{})
	send(p, cdplog.Enable, cdp.Empty{})
	send(p, runtime.Enable, cdp.Empty{})
	send(p, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: width, Height: height, DeviceScaleFactor: 1, Mobile: width < 600})
	send(p, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
	run(p, chromedp.Navigate(url))
	return p
}

// run runs an action in the tab.
func run[T any](p *tab, action chromedp.Action[T]) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, action)
	if err != nil {
		p.t.Fatal(err)
	}
	return v
}

// send sends a command of the protocol to the tab.
func send[P, R any](p *tab, command cdp.Command[P, R], params P) {
	p.t.Helper()
	run(p, func(ctx context.Context, target *chromedp.Target) (R, error) {
		return cdp.Call(ctx, target, command, params)
	})
}

// eval evaluates an expression in the page.
func eval[T any](p *tab, expression string) T {
	p.t.Helper()
	return run(p, chromedp.Evaluate[T](expression))
}

// until waits for an expression to be true.
func (p *tab) until(expression string) {
	p.t.Helper()
	cluster.Eventually(p.t, expression, func() error {
		if !eval[bool](p, expression) {
			return errors.New("it is not so")
		}
		return nil
	})
}

// drawn tells, for each chart, how many pixels in its plot are not transparent
// and neither grid nor text: those of lines.
const drawn = `JSON.stringify(Object.fromEntries([...document.querySelectorAll(".chart")].map(f => {
	const canvas = f.querySelector("canvas");
	if (!canvas || canvas.width === 0) return [f.id, -1];
	const copy = (w, h) => Object.assign(document.createElement("canvas"), {width: w, height: h}).getContext("2d", {willReadFrequently: true});
	const probe = copy(1, 1), plot = copy(canvas.width, canvas.height);
	plot.drawImage(canvas, 0, 0);
	const colors = [...f.querySelectorAll(".swatch")].map(s => { probe.fillStyle = getComputedStyle(s).color; probe.fillRect(0, 0, 1, 1); return probe.getImageData(0, 0, 1, 1).data; });
	const data = plot.getImageData(0, 0, canvas.width, canvas.height).data;
	let n = 0;
	for (let i = 0; i < data.length; i += 4)
		if (data[i + 3] > 200 && colors.some(c => Math.abs(c[0] - data[i]) + Math.abs(c[1] - data[i + 1]) + Math.abs(c[2] - data[i + 2]) < 30)) n++;
	return [f.id, n];
})))`

// lines waits until every chart has so many pixels of lines.
func (p *tab) lines(pixels int) {
	p.t.Helper()
	cluster.Eventually(p.t, "lines in every chart", func() error {
		charts := make(map[string]int)
		if err := json.Unmarshal([]byte(eval[string](p, drawn)), &charts); err != nil {
			return err
		}
		if len(charts) != 5 || slices.Min(slices.Collect(maps.Values(charts))) < pixels {
			return fmt.Errorf("pixels of lines: %v", charts)
		}
		return nil
	})
}

// check is what holds for every page, whatever its state.
func (p *tab) check(url string) {
	p.t.Helper()
	if scroll, client := eval[int](p, "document.documentElement.scrollWidth"), eval[int](p, "document.documentElement.clientWidth"); scroll > client {
		p.t.Errorf("the page is %d pixels wide and the window %d; too wide are: %s", scroll, client, eval[string](p,
			`[...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > document.documentElement.clientWidth + 1).map(e => e.tagName + "." + e.className).slice(0, 8).join(" ")`))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.mu.complaints {
		p.t.Errorf("the browser complains: %s", c)
	}
	for _, u := range p.mu.loaded {
		if !strings.HasPrefix(u, url+"/ui") {
			p.t.Errorf("loaded from elsewhere: %s", u)
		}
	}
}

// keep writes a screenshot of the whole page.
func (p *tab) keep(name string) {
	p.t.Helper()
	png := run(p, chromedp.FullScreenshot(100))
	dir := p.t.ArtifactDir()
	if d := os.Getenv("HOLDFAST_SCREENSHOTS"); d != "" {
		dir = d
		if err := os.MkdirAll(dir, 0o755); err != nil {
			p.t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// looks are the windows that a page is looked at in.
var looks = []struct {
	name          string
	width, height int64
	scheme        string
}{
	{"desktop-light", 1280, 900, "light"},
	{"desktop-dark", 1280, 900, "dark"},
	{"phone-light", 375, 812, "light"},
	{"phone-dark", 375, 812, "dark"},
}

// TestBrowserNode looks at a real node under load, and at how its data disk
// hangs. Without the policy's style-src, without console.js, and with a table
// that is too wide it was seen to fail.
func TestBrowserNode(t *testing.T) {
	ctx := browser(t)
	// A browser keeps the machine busy: no election is to come of it.
	c := cluster.New(t, cluster.Options{Side: true, Configure: func(cfg *node.Config) { cfg.Timing = node.Timing{HandOverAfter: time.Hour} }})
	leader := c.Leader("default")
	// Nor is a busy disk to count as one that hangs.
	threshold := "1s"
	if _, err := c.Node(leader).Apply(t.Context(), "default", kv.Command{Op: kv.OpSettings,
		Settings: map[string]*string{kv.SettingUnhealthyOpThreshold: &threshold}}); err != nil {
		t.Fatal(err)
	}
	load, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	for i := range 4 {
		wg.Go(func() {
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for n := 0; load.Err() == nil; n++ {
				_, _ = c.Node(leader).Apply(load, "default", kv.Command{Op: kv.OpPut, Key: fmt.Sprintf("load/%d/%d", i, n%100), Value: []byte("value")})
				<-tick.C
			}
		})
	}
	url := "http://" + c.Node(leader).HTTPAddr()
	for _, look := range looks {
		t.Run(look.name, func(t *testing.T) {
			p := open(t, ctx, url+"/ui", look.width, look.height, look.scheme)
			p.until(`document.querySelector("#chart-throughput .legend b").textContent.endsWith("/s")`)
			p.until(`document.querySelectorAll(".chart canvas").length === 5`)
			p.lines(5)
			p.until(`document.title === "○ test / ` + leader + `: primary"`)
			p.check(url)
			p.keep("node-" + look.name)
		})
	}
	t.Run("stall", func(t *testing.T) {
		p := open(t, ctx, url+"/ui", 1280, 900, "light")
		p.until(`document.querySelector(".badge").textContent.endsWith("primary")`)
		c.Data(leader).Freeze()
		p.until(`document.title === "● test / ` + leader + `: secondary" && document.querySelector(".badge").textContent.endsWith("secondary")`)
		p.until(`document.querySelector("#chart-switches .legend b").textContent === "1"`)
		p.check(url)
		p.keep("node-stall")
		c.Data(leader).Thaw()
		p.until(`document.title === "○ test / ` + leader + `: primary" && document.querySelector("#chart-switches .legend b").textContent === "2"`)
		p.check(url)
	})
}

// TestBrowserNoData: what is absent is said to be.
func TestBrowserNoData(t *testing.T) {
	ctx := browser(t)
	url := serve(t, console.StartFixture(t, "disabled"))
	p := open(t, ctx, url+"/ui", 1280, 900, "light")
	for _, id := range []string{"secondary", "primary", "switches"} {
		p.until(fmt.Sprintf(`document.querySelector("#chart-%s .no-data:not([hidden])")?.textContent === "no data: failover is disabled"`, id))
	}
	p.until(`document.querySelector("#chart-throughput .no-data").hidden`)
	p.check(url)
}

// TestBrowserStates looks at states that a healthy cluster is not in.
func TestBrowserStates(t *testing.T) {
	ctx := browser(t)
	for _, state := range []string{"failed-over", "two-stores", "no-leader", "healthy-follower", "side-nearly-full"} {
		url := serve(t, console.StartFixture(t, state))
		for i, look := range looks {
			if state != "failed-over" && i != 0 && i != len(looks)-1 {
				continue // one of each is enough
			}
			t.Run(state+"-"+look.name, func(t *testing.T) {
				p := open(t, ctx, url+"/ui", look.width, look.height, look.scheme)
				p.lines(50)
				p.check(url)
				p.keep(state + "-" + look.name)
				if state != "failed-over" {
					return
				}
				run(p, chromedp.Click(chromedp.CSS(`[data-range="6h"]`)))
				p.until(`document.querySelector('[data-range="6h"]').getAttribute("aria-pressed") === "true" && document.querySelector('[data-range="10m"]').getAttribute("aria-pressed") === "false"`)
				p.until(`performance.getEntriesByType("resource").some(e => e.name.endsWith("/ui/data?range=6h")) && document.querySelector("#chart-switches .legend b").textContent === "7"`)
				p.check(url)
				p.keep(state + "-6h-" + look.name)
			})
		}
	}
}

// TestBrowserUnreachable: a page whose node goes away says so and since when,
// and is itself again when the node is back; where another process answers it
// begins anew.
func TestBrowserUnreachable(t *testing.T) {
	ctx := browser(t)
	var h switchable
	first := console.StartFixture(t, "healthy-follower")
	h.set(first)
	url := serve(t, &h)
	p := open(t, ctx, url+"/ui", 1280, 900, "light")
	p.until(`document.querySelectorAll(".chart canvas").length === 5 && document.getElementById("unreachable").hidden`)
	h.set(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "gone", http.StatusServiceUnavailable) }))
	p.until(`!document.getElementById("unreachable").hidden`)
	p.until(`/^Cannot reach node since \d\d:\d\d:\d\d/.test(document.getElementById("unreachable").textContent)`)
	p.until(`/^● orders . a: cannot reach since \d+ s$/.test(document.title)`)
	p.until(`document.body.classList.contains("stale")`)
	p.keep("unreachable")
	h.set(first)
	p.until(`document.getElementById("unreachable").hidden && document.title === "○ orders / a: primary"`)
	// What changes is read aloud, once, and the page is not another one.
	run(p, chromedp.Evaluate[bool](`window.same = true`))
	h.set(rename(first, console.StartFixture(t, "failed-over")))
	p.until(`document.getElementById("announce").textContent.includes("writes to its side:") && window.same`)
	p.until(`document.querySelector(".badge").textContent.endsWith("secondary") && document.getElementById("icon").href.includes("icon-warn")`)
	h.set(console.StartFixture(t, "no-leader"))
	p.until(`window.same === undefined && document.title === "● orders / a: no leader"`)
}

// switchable answers with one handler or another.
type switchable struct{ h atomic.Pointer[http.Handler] }

func (s *switchable) set(h http.Handler) { s.h.Store(&h) }

func (s *switchable) ServeHTTP(w http.ResponseWriter, r *http.Request) { (*s.h.Load()).ServeHTTP(w, r) }

// rename is a handler whose answers look like those of another process.
func rename(process, of *console.Console) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		of.ServeHTTP(rec, r)
		_, _ = w.Write(bytes.ReplaceAll(rec.Body.Bytes(), []byte(of.Boot()), []byte(process.Boot())))
	})
}

func serve(t *testing.T, h http.Handler) string {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}
