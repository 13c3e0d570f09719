// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package vm

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

// MiB is 1<<20 bytes.
const mib = int64(1) << 20

// nodeSpec is a node of its own, with a data disk of that serial and whatever side disk
// is blank.
func nodeSpec(data string) *agentapi.Spec {
	return (&agentapi.Spec{
		Version: 1, Cluster: agentapi.Cluster{Name: "orders", ID: "6f2d1c9e-7a53-4c1e-9a55-0f5b3d1c2e4f"}, Node: "a", BindAddress: "127.0.0.1",
		Servers: []agentapi.Server{{Name: "a", Address: "127.0.0.1:8300", Voter: true}},
		Stores: []agentapi.StoreSpec{{Path: "/srv/holdfast/data1/store", Disk: &agentapi.Disk{
			Match: agentapi.DiskMatch{Serial: data}, FileSystem: "xfs", Mount: "/srv/holdfast/data1"}}},
		SideDisk: &agentapi.SideDisk{Path: "/srv/holdfast/side/store", Disk: &agentapi.Disk{
			FileSystem: "ext4", Mount: "/srv/holdfast/side", MinSizeBytes: 2 * GiB}},
		WALFailover: agentapi.WALFailover{Mode: agentapi.SideDiskMode},
	}).WithDefaults()
}

// guest is a machine that becomes a node.
type guest struct {
	*Machine
	t *testing.T
}

// run runs a command that may take long on emulated processors.
func (g *guest) run(command string) (string, error) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), bootMax)
	defer cancel()
	out, err := g.SSH().Run(ctx, command)
	return strings.TrimSpace(out), err
}

func (g *guest) must(command string) string {
	g.t.Helper()
	out, err := g.run(command)
	if err != nil {
		g.t.Fatalf("%v\n%s", err, g.diagnosis())
	}
	return out
}

// diagnosis is what a person would look at.
func (g *guest) diagnosis() string {
	out, _ := g.run("sudo journalctl --no-pager -n 60 -u holdfast-agent -u holdfast-engine; systemctl --no-pager --failed; findmnt --real; lsblk -o NAME,SERIAL,SIZE,FSTYPE,LABEL,MOUNTPOINTS")
	return out
}

// spec puts a spec where commands find it.
func (g *guest) spec(s *agentapi.Spec) {
	g.t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		g.t.Fatal(err)
	}
	if err := g.SSH().Upload(g.t.Context(), "/root/node.json", 0o600, strings.NewReader(string(b))); err != nil {
		g.t.Fatal(err)
	}
}

// agent asks the agent as the provider does through sudo.
func agentAsk[T any](g *guest, method, path string) T {
	g.t.Helper()
	// The input stays open: the agent gives up what a client waits for that has gone.
	request := fmt.Sprintf(`printf "%s %s HTTP/1.0\r\nContent-Length: 0\r\n\r\n"`, method, path)
	out := g.must("bash -c 'sudo holdfast agent connect < <(" + request + "; exec sleep 120 2>/dev/null)'")
	_, body, _ := strings.Cut(strings.ReplaceAll(out, "\r", ""), "\n\n")
	var v T
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		g.t.Fatalf("%s %s: %v\n%s", method, path, err, out)
	}
	return v
}

func (g *guest) engine() agentapi.Engine {
	g.t.Helper()
	return agentAsk[agentapi.Status](g, "GET", "/v1/status").Engine
}

// running is the engine once it answers: on emulated processors it may miss the time in
// which the agent expects it.
func (g *guest) running() (e agentapi.Engine) {
	g.t.Helper()
	g.until("the engine answers", func() bool { e = g.engine(); return e.State == agentapi.EngineRunning })
	return e
}

// unit is a property of the engine's unit.
func (g *guest) unit(property string) string {
	g.t.Helper()
	return g.must("systemctl show --value --property=" + property + " holdfast-engine.service")
}

func (g *guest) until(what string, yes func() bool) {
	g.t.Helper()
	began := time.Now()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for !yes() {
		if time.Since(began) > bootMax/3 {
			g.t.Fatalf("%s: never\n%s", what, g.diagnosis())
		}
		<-tick.C
	}
	g.t.Logf("%s: after %s", what, time.Since(began).Round(100*time.Millisecond))
}

// TestMachineAgent makes a machine a node without Terraform, and no node again.
func TestMachineAgent(t *testing.T) {
	t.Parallel() // beside TestMachine: one machine keeps one processor busy, and neither counts seconds
	g := &guest{start(t, Config{Image: image(t), Name: "node", CPUs: 1, Disks: []Disk{
		{Kind: SCSI, Serial: "data", Size: 2 * GiB},
		{Kind: NVMe, Serial: "side", Size: 2 * GiB},
		{Kind: SCSI, Serial: "theirs", Size: 320 * mib},
		{Kind: NVMe, Serial: "parts", Size: 320 * mib},
	}})[0], t}
	uploadBinary(t, g.Machine)
	story := func(name string, f func(*guest)) {
		if !t.Failed() { // each begins where the one before ended
			t.Run(name, func(t *testing.T) { f(&guest{g.Machine, t}) })
		}
	}
	story("refused", testRefused)
	story("provision", testProvision)
	story("kill -9", testAgentKilled)
	story("replugged", testReplugged)
	story("stop is remembered", testStopped)
	story("another number", testOtherNumber)
	story("another binary", testOtherBinary)
	story("grow", testGrow)
	story("held", testHeld)
	story("reboot", testReboot)
	story("remove", testRemove)
}

// testRefused gives a store disks that are somebody else's: nothing is written to them,
// and nothing is installed.
func testRefused(g *guest) {
	disks := lsblkOf(g.t, g.Machine)
	theirs, parts := "/dev/"+disks["theirs"].Name, "/dev/"+disks["parts"].Name
	g.must("sudo mkfs.ext4 -q -F -L theirs " + theirs + "; printf 'label: gpt\\nsize=64MiB\\n' | sudo sfdisk -q " + parts + "; sudo udevadm settle")
	sums := "sudo sync; sudo sha256sum " + theirs + " " + parts
	before := g.must(sums)
	for serial, says := range map[string]string{
		"theirs": "stores.0.disk.filesystem: want xfs, found ext4",
		"parts":  "want a device without partitions",
		"none":   "want a device: serial none",
	} {
		g.spec(nodeSpec(serial))
		for _, dry := range []string{"", " -dry-run"} {
			out, err := g.run("sudo holdfast provision" + dry + " /root/node.json 2>&1")
			if err == nil || !strings.Contains(err.Error()+out, says) {
				g.t.Errorf("provision%s with the disk %s: %v\n%s", dry, serial, err, out)
			}
		}
	}
	if after := g.must(sums); after != before {
		g.t.Errorf("something was written:\n%s\n%s", before, after)
	}
	g.must("! test -e /etc/systemd/system/holdfast-agent.service && ! test -e /run/holdfast && ! findmnt /srv/holdfast/data1")
}

// testProvision: the engine runs as a service of its own user on its own disks, and a
// second run does nothing.
func testProvision(g *guest) {
	g.spec(nodeSpec("data"))
	out := g.must("sudo holdfast provision -dry-run /root/node.json")
	for _, want := range []string{"make xfs on /dev/sd", "make ext4 on /dev/nvme", "mount /dev/", "write /etc/systemd/system/holdfast-engine.service"} {
		if !strings.Contains(out, want) {
			g.t.Errorf("the dry run does not say %q:\n%s", want, out)
		}
	}
	began := time.Now()
	g.t.Log("\n" + g.must("sudo holdfast provision /root/node.json"))
	g.t.Logf("a node after %s", time.Since(began).Round(time.Second))
	e := g.running()
	if len(e.RestartRequired) > 0 || e.Stores == nil || fmt.Sprint(e.PID) != g.unit("MainPID") {
		g.t.Errorf("%+v", e)
	}
	if got := g.must("ps -o user= -p " + g.unit("MainPID")); got != "holdfast" {
		g.t.Errorf("the engine runs as %s", got)
	}
	for _, check := range []string{
		"systemctl is-enabled holdfast-agent holdfast-engine srv-holdfast-data1.mount srv-holdfast-side.mount",
		"test $(stat -c %U%a /srv/holdfast/data1/store) = holdfast700",
		"test $(findmnt -no FSTYPE /srv/holdfast/data1) = xfs && test $(findmnt -no FSTYPE /srv/holdfast/side) = ext4",
		"test $(sudo stat -c %U:%G:%a /etc/holdfast/engine.json) = root:holdfast:640",
		"test $(stat -c %a /var/lib/holdfast) = 700",
		"holdfast kv put greeting hello",
	} {
		if out, err := g.run(check); err != nil {
			g.t.Errorf("%s: %v\n%s", check, err, out)
		}
	}
	g.until("its side is armed", g.armed)

	units := "sudo find /etc/systemd /etc/holdfast /etc/sysctl.d /etc/sysusers.d -newermt @%s -type f"
	at := g.must("date +%s")
	if out := g.must("sudo holdfast provision -dry-run /root/node.json"); !strings.Contains(out, "Nothing to do") {
		g.t.Errorf("again, it would do\n%s", out)
	}
	g.until("a second run finds nothing wrong", func() bool { // a disk of a busy machine hangs now and then
		var err error
		out, err = g.run("sudo holdfast provision /root/node.json")
		return err == nil
	})
	if !strings.Contains(out, "The spec is the one that was in force.") || strings.Contains(out, "write ") || g.running().PID != e.PID {
		g.t.Errorf("again:\n%s", out)
	}
	if out := g.must(fmt.Sprintf(units, at)); strings.Contains(strings.ReplaceAll(out, "/etc/holdfast/engine.json", ""), "/") {
		g.t.Errorf("written again:\n%s", out)
	}
}

// testAgentKilled: the engine does not notice, and the next agent finds it.
func testAgentKilled(g *guest) {
	pid, before := g.unit("MainPID"), g.must("systemctl show --value --property=MainPID holdfast-agent")
	g.must("sudo kill -9 " + before)
	g.until("another agent answers", func() bool {
		out, err := g.run("systemctl show --value --property=MainPID holdfast-agent; sudo holdfast agent install -node a")
		return err == nil && !strings.HasPrefix(out, before+"\n") && !strings.HasPrefix(out, "0\n")
	})
	if e := g.running(); fmt.Sprint(e.PID) != pid || g.unit("MainPID") != pid {
		g.t.Errorf("the engine was process %s, now %+v", pid, e)
	}
	// A crashed engine is systemd's to start again, unless the agent has just been at its disks.
	g.until("the agent is at rest", g.rests)
	g.must("sudo kill -9 " + pid)
	g.until("another engine runs", func() bool {
		e := g.engine()
		return e.State == agentapi.EngineRunning && fmt.Sprint(e.PID) != pid
	})
	if e := g.engine(); !strings.Contains(e.LastExit, "pid "+pid+" killed by signal 9") || e.Restarts != 1 || g.unit("NRestarts") != "1" {
		g.t.Errorf("%+v", e)
	}
}

// testReplugged: a disk that goes away takes the engine with it, and one that comes back
// brings it back, without anybody's help: nothing but the agent's look at the mount table
// does that, for systemd mounts by itself at boot alone.
func testReplugged(g *guest) {
	ctx, cancel := context.WithTimeout(g.t.Context(), bootMax)
	defer cancel()
	pid := g.unit("MainPID")
	replug := func(serial, point string, gone func() bool, meanwhile func()) {
		g.t.Helper()
		disk, ok := g.Disk(serial)
		if !ok {
			g.t.Fatalf("no disk %s", serial)
		}
		if err := g.Unplug(ctx, serial); err != nil {
			g.t.Fatal(err)
		}
		g.until("its mount is gone", func() bool { _, err := g.run("findmnt " + point); return err != nil })
		g.until("the agent says so", gone)
		meanwhile()
		if err := g.Plug(ctx, disk); err != nil {
			g.t.Fatal(err)
		}
		g.until("it is mounted again", func() bool { _, err := g.run("findmnt " + point); return err == nil })
	}
	replug("data", "/srv/holdfast/data1", func() bool {
		st := agentAsk[agentapi.Status](g, "GET", "/v1/status")
		return st.Engine.State == agentapi.EngineFailed && len(st.Problems) > 0
	}, func() {})
	if e := g.running(); fmt.Sprint(e.PID) == pid {
		g.t.Errorf("the engine is process %s still", pid)
	}
	if got := g.must("holdfast kv get greeting"); got != "hello" {
		g.t.Errorf("before, now %q", got)
	}
	pid = g.unit("MainPID")
	without := func() bool { return len(agentAsk[agentapi.Status](g, "GET", "/v1/status").Problems) > 0 }
	used := func() {
		g.t.Helper()
		g.until("its journal is on the disk that came back", func() bool {
			_, err := g.run("sudo sh -c 'stat -Lc %d /proc/" + pid + "/fd/*' | grep -qx $(stat -c %d /srv/holdfast/side)")
			return err == nil && g.armed()
		})
		if got := g.unit("MainPID"); got != pid {
			g.t.Errorf("the engine was process %s, now %s: it uses a side that comes back", pid, got)
		}
		g.until("nothing is wrong", func() bool { return !without() })
	}
	replug("side", "/srv/holdfast/side", without, func() {
		if got := g.unit("MainPID"); got != pid {
			g.t.Errorf("the engine was process %s, now %s: it serves without a side", pid, got)
		}
	})
	used()
	// So does an engine that was started when there was none.
	replug("side", "/srv/holdfast/side", without, func() {
		agentAsk[agentapi.Status](g, "POST", "/v1/engine/restart")
		g.running()
		pid = g.unit("MainPID")
	})
	used()
}

// rests reports whether the agent has nothing to do.
func (g *guest) rests() bool {
	return agentAsk[agentapi.Status](g, "GET", "/v1/status").Converging == nil
}

// armed reports whether the engine's log has its side.
func (g *guest) armed() bool {
	s := g.engine().Stores
	return s != nil && len(s.Stores) == 1 && len(s.Stores[0].Failover.Sides) == 1 && s.Stores[0].Failover.Sides[0].Armed
}

// testOtherNumber: after a machine is installed anew its user may have another number; a
// store that was kept is given to it, with all that is in it.
func testOtherNumber(g *guest) {
	const store = "/srv/holdfast/data1/store"
	g.must("sudo systemctl stop holdfast-agent holdfast-engine && sudo chown -R 4711:4711 " + store + " /srv/holdfast/side/store && sudo systemctl start holdfast-agent && sudo holdfast agent install -node a")
	g.running()
	if out := g.must("sudo find " + store + " /srv/holdfast/side/store -uid 4711 -o -gid 4711"); out != "" {
		g.t.Errorf("left to the number of before:\n%s", out)
	}
	if got := g.must("holdfast kv get greeting"); got != "hello" {
		g.t.Errorf("before, now %q", got)
	}
}

// testOtherBinary: an upgrade is due for the engine, and done by its restart.
func testOtherBinary(g *guest) {
	pid := g.unit("MainPID")
	due := func() (all []string) {
		for _, c := range g.running().RestartRequired {
			all = append(all, c.Attribute)
		}
		return all
	}
	if got := due(); got != nil {
		g.t.Errorf("before: %v", got)
	}
	g.must("sudo cp /usr/local/bin/holdfast /usr/local/bin/holdfast.new && sudo mv /usr/local/bin/holdfast.new /usr/local/bin/holdfast && sudo holdfast agent install -node a")
	g.until("the next agent is at rest", g.rests)
	if got := due(); len(got) != 1 || got[0] != "binary" || g.unit("MainPID") != pid {
		g.t.Errorf("a restart is due for %v; process %s, before %s", got, g.unit("MainPID"), pid)
	}
	agentAsk[agentapi.Status](g, "POST", "/v1/engine/restart")
	if got := due(); got != nil || g.unit("MainPID") == pid {
		g.t.Errorf("after the restart: %v, process %s", got, g.unit("MainPID"))
	}
}

// testStopped: neither the next agent nor the same spec starts an engine that somebody stopped.
func testStopped(g *guest) {
	if st := agentAsk[agentapi.Status](g, "POST", "/v1/engine/stop"); st.Engine.State != agentapi.EngineStopped || st.Engine.PID != 0 {
		g.t.Fatalf("%+v", st.Engine)
	}
	g.must("sudo systemctl restart holdfast-agent && sudo holdfast agent install -node a")
	g.until("the next agent is at rest", g.rests)
	if out := g.must("systemctl is-active holdfast-engine; systemctl is-enabled holdfast-engine; true"); out != "inactive\ndisabled" {
		g.t.Errorf("the unit is %q", out)
	}
	if e := agentAsk[agentapi.Status](g, "POST", "/v1/engine/start").Engine; e.PID == 0 || e.Wanted != agentapi.EngineRunning {
		g.t.Errorf("%+v", e)
	}
	g.running()
}

// testGrow: a disk that grew is grown by the next spec that is sent, not before, and is
// shown until then.
func testGrow(g *guest) {
	ctx, cancel := context.WithTimeout(g.t.Context(), bootMax)
	defer cancel()
	if err := g.Resize(ctx, "data", 3*GiB); err != nil {
		g.t.Fatal(err)
	}
	g.until("the guest sees it", func() bool { return lsblkOf(g.t, g.Machine)["data"].Size == 3*GiB })
	size, pid := "findmnt -bno SIZE /srv/holdfast/data1", g.unit("MainPID")
	before := g.must(size)
	g.must("sudo systemctl restart holdfast-agent && sudo holdfast agent install -node a")
	g.until("the next agent is at rest", g.rests)
	p := agentAsk[agentapi.Pending](g, "GET", "/v1/pending")
	if len(p.Operations) != 1 || p.Operations[0].Field != "stores.0" || !strings.HasPrefix(p.Operations[0].String(), "disks: grow the xfs of /dev/sd") || len(p.Problems) > 0 {
		g.t.Errorf("pending: %+v", p)
	}
	if now := g.must(size); now != before {
		g.t.Errorf("grown from %s to %s before anybody was asked", before, now)
	}
	if out := g.must("sudo holdfast provision /root/node.json"); !strings.Contains(out, "disks: grow the xfs") {
		g.t.Errorf("it does not say that it grows:\n%s", out)
	}
	if now := g.must(size); now == before || g.unit("MainPID") != pid {
		g.t.Errorf("size %s, before %s; process %s, before %s", now, before, g.unit("MainPID"), pid)
	}
	if p := agentAsk[agentapi.Pending](g, "GET", "/v1/pending"); len(p.Operations) > 0 {
		g.t.Errorf("pending: %+v", p)
	}
}

// testHeld: an engine that was killed while its disk hangs is told as held, by an agent
// that starts then, too; when the disk is back, systemd has another one, with all that was
// acknowledged meanwhile. fsfreeze is the disk that hangs.
func testHeld(g *guest) {
	g.running()
	pid := g.unit("MainPID")
	g.must("sudo fsfreeze -f /srv/holdfast/data1")
	thaw := func() { _, _ = g.run("sudo fsfreeze -u /srv/holdfast/data1") }
	defer thaw() // again is an error, and none that counts
	g.must("holdfast kv put during freeze && sudo kill -9 " + pid)
	held := func() bool { e := g.engine(); return e.State == agentapi.EngineHeld && fmt.Sprint(e.PID) == pid }
	g.until("it is held", held)
	g.must("sudo systemctl restart holdfast-agent && sudo holdfast agent install -node a")
	g.until("it is held, the next agent says", held)
	thaw()
	g.until("there is another one", func() bool { e := g.engine(); return e.PID != 0 && fmt.Sprint(e.PID) != pid })
	g.until("it has what was written meanwhile", func() bool { out, err := g.run("holdfast kv get during"); return err == nil && out == "freeze" })
}

// testReboot: everything is back, by itself.
func testReboot(g *guest) {
	g.must("holdfast kv put before reboot && sync")
	ctx, cancel := context.WithTimeout(g.t.Context(), bootMax)
	defer cancel()
	if err := g.Reset(ctx); err != nil {
		g.t.Fatal(err)
	}
	client, err := api.New(api.Config{Addresses: []string{"127.0.0.1:8500"}, DialContext: g.SSH().Dial})
	if err != nil {
		g.t.Fatal(err)
	}
	defer client.Close()
	g.until("it leads", func() bool { leader, err := client.StatusLeader(g.t.Context(), ""); return err == nil && leader != "" })
	if got := g.must("holdfast kv get before"); got != "reboot" {
		g.t.Errorf("before the reboot, now %q", got)
	}
	g.until("the agent is at rest", func() bool {
		out, err := g.run("test -S /run/holdfast/agent.sock || sudo test -S /run/holdfast/agent.sock")
		return err == nil && out == "" && agentAsk[agentapi.Status](g, "GET", "/v1/status").Converging == nil
	})
	g.running()
	st := agentAsk[agentapi.Status](g, "GET", "/v1/status")
	if len(st.Problems) > 0 || len(st.Engine.RestartRequired) > 0 {
		g.t.Errorf("%+v", st)
	}
	if p := agentAsk[agentapi.Pending](g, "GET", "/v1/pending"); len(p.Operations)+len(p.Problems) > 0 {
		g.t.Errorf("pending: %+v", p)
	}
}

// testRemove: another cluster's id changes nothing; its own leaves blank disks and no
// trace but the binary; foreign disks stay as they are.
func testRemove(g *guest) {
	disks := lsblkOf(g.t, g.Machine)
	sums := "sudo sync; sudo sha256sum /dev/" + disks["theirs"].Name + " /dev/" + disks["parts"].Name
	before := g.must(sums)
	pid := g.unit("MainPID")
	out, err := g.run("sudo holdfast agent remove -cluster-id 00000000-7a53-4c1e-9a55-0f5b3d1c2e4f 2>&1")
	if err == nil || !strings.Contains(err.Error()+out, "it is a node of the cluster") || g.unit("MainPID") != pid {
		g.t.Errorf("another cluster's id: %v\n%s", err, out)
	}
	const remove = "sudo holdfast agent remove -cluster-id 6f2d1c9e-7a53-4c1e-9a55-0f5b3d1c2e4f"
	g.t.Log("\n" + g.must(remove))
	for _, serial := range []string{"data", "side"} {
		if got := g.must("sudo blkid -p -o export /dev/" + disks[serial].Name + " || true"); got != "" {
			g.t.Errorf("the disk %s has %s", serial, got)
		}
	}
	g.must("! test -e /var/lib/holdfast && ! test -e /etc/holdfast && ! test -e /run/holdfast && ! ls -d /etc/*/*holdfast* /etc/systemd/*/*holdfast*")
	g.must("! systemctl is-active holdfast-agent holdfast-engine && ! findmnt /srv/holdfast/data1 && test -x /usr/local/bin/holdfast")
	if after := g.must(sums); after != before {
		g.t.Errorf("something was written:\n%s\n%s", before, after)
	}
	if out := g.must(remove); out != "" {
		g.t.Errorf("again, it did\n%s", out)
	}
	g.must("sudo holdfast provision /root/node.json") // a new node on the same disks
}
