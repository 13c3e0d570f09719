// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package logs

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs/vfstest"
)

const noFile = "sinks:\n  file-groups: {}\n  stderr: {filter: NONE}\n"

// messages are what a server of a test got; who reads them waits for each.
type messages chan string

func (m messages) next(t *testing.T) string {
	t.Helper()
	select {
	case got := <-m:
		return got
	case <-t.Context().Done():
		t.Fatal("nothing came")
		return ""
	}
}

var syslogRE = regexp.MustCompile(`^<(\d+)>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z \S+ holdfast \d+ - - `)

func TestSyslog(t *testing.T) {
	dir := t.TempDir()
	for _, network := range []string{"udp", "tcp", "unix", "unixgram"} {
		t.Run(network, func(t *testing.T) {
			got := make(messages, 100)
			address := filepath.Join(dir, network)
			var served sync.WaitGroup
			if network == "udp" || network == "unixgram" {
				local := "127.0.0.1:0"
				if network == "unixgram" {
					local = address
				}
				c, err := net.ListenPacket(network, local)
				if err != nil {
					t.Fatal(err)
				}
				served.Go(func() {
					b := make([]byte, 1<<16)
					for {
						n, _, err := c.ReadFrom(b)
						if err != nil {
							return // closed below
						}
						got <- string(b[:n])
					}
				})
				address = c.LocalAddr().String()
				defer served.Wait()
				defer func() { _ = c.Close() }()
			} else {
				address = serve(t, network, address, func(c net.Conn) {
					r := bufio.NewReader(c)
					for {
						var n int
						if _, err := fmt.Fscanf(r, "%d ", &n); err != nil {
							return
						}
						b := make([]byte, n)
						if _, err := io.ReadFull(r, b); err != nil {
							return
						}
						got <- string(b)
					}
				})
			}
			key := strings.TrimSuffix(network, "gram")
			b := open(t, vfstest.NewMem("/d"), 0, noFile+fmt.Sprintf("  syslog-servers:\n    s: {net: %s, address: %q, facility: local0, buffering: NONE}", key, address))
			b.log.Info("hello", "n", 1)
			b.log.With("partition", "p2").Error("two lines", "text", "a\nb")
			b.log.Debug("detail")
			b.close()
			for _, want := range []struct{ pri, text string }{
				{"134", "holdfast: hello: n=1"}, {"131", "holdfast: two lines: partition=p2\n  text=\n  | a\n  | b"}, {"135", "holdfast: detail"},
			} {
				m := got.next(t)
				head := syslogRE.FindStringSubmatch(m)
				if head == nil || head[1] != want.pri {
					t.Fatalf("%q, want priority %s", m, want.pri)
				}
				if d := cmp.Diff(want.text, strings.TrimRight(m[len(head[0]):], " \n")); d != "" {
					t.Error(d)
				}
			}
		})
	}
}

// serve accepts connections until the test ends.
func serve(t *testing.T, network, address string, handle func(net.Conn)) string {
	t.Helper()
	if network == "tcp" && !strings.Contains(address, ":") {
		address = "127.0.0.1:0"
	}
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // closed below
			}
			served.Go(func() {
				defer func() { _ = c.Close() }()
				handle(c)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		served.Wait()
	})
	return l.Addr().String()
}

// A fluent server gets JSON with a tag, each line once and in order, also when it
// closes the connection between them: without a look at it before each write, the
// third line was written into a connection that had ended, and never came.
func TestFluent(t *testing.T) {
	got := make(messages, 100)
	address := serve(t, "tcp", "", func(c net.Conn) {
		r := bufio.NewReader(c)
		for range 2 { // lines, and then it hangs up
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			got <- line
		}
	})
	b := open(t, vfstest.NewMem("/d"), 0, noFile+"  fluent-servers:\n    f: {buffering: NONE, address: \""+address+"\"}")
	for i := range 6 {
		b.log.Info("hello", "n", i)
		var line struct {
			Tag     string `json:"tag"`
			Message string `json:"@message"`
			N       int    `json:"n"`
		}
		if err := json.Unmarshal([]byte(got.next(t)), &line); err != nil {
			t.Fatal(err)
		}
		if line.Tag != "holdfast" || line.Message != "hello" || line.N != i {
			t.Errorf("%d: %+v", i, line)
		}
	}
	b.close()
}

func TestHTTP(t *testing.T) {
	got := make(messages, 100)
	var mu sync.Mutex
	answers := []int{http.StatusServiceUnavailable, http.StatusTooManyRequests, http.StatusOK, http.StatusBadRequest, http.StatusFound}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodPost || r.Header.Get("Authorization") != "key" || r.Header.Get("Content-Type") != "application/x-ndjson" {
			t.Errorf("%s %v %v", r.Method, r.Header, err)
		}
		mu.Lock()
		code := http.StatusNoContent
		if len(answers) > 0 {
			code, answers = answers[0], answers[1:]
		}
		mu.Unlock()
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(code)
		got <- fmt.Sprint(code, " ", r.URL.Path, " ", strings.Count(string(body), "\n"), " ", strings.Contains(string(body), `"dropped":1`))
	}))
	defer srv.Close()
	b := open(t, vfstest.NewMem("/d"), 0, noFile+"  http-servers:\n    h: {filter: WARN, headers: {authorization: key}, address: \""+srv.URL+"/in\"}")
	want := func(lines ...string) {
		t.Helper()
		for _, w := range lines {
			if g := got.next(t); g != w {
				t.Errorf("%s, want %s", g, w)
			}
		}
	}
	b.log.Info("below the filter")
	b.log.Warn("a")
	b.log.Error("b")
	b.flush() // tried again till the server takes them
	want("503 /in 2 false", "429 /in 2 false", "200 /in 2 false")
	b.flush() // the line by which the sink told of its failure, which the server will never take: not tried again
	want("400 /in 1 false")
	b.flush() // the one of that failure, after a note; nobody follows a redirect
	want("302 /in 2 true")
	b.log.Warn("c")
	b.close()
	want("204 /in 2 false")
	if n := b.metric("log_messages_dropped", "http-servers.h"); n != 2 {
		t.Errorf("%d lines were dropped", n)
	}
}

// A server that is away costs tries and lines, and no caller waits.
func TestServerAway(t *testing.T) {
	b := open(t, vfstest.NewMem("/d"), 0, noFile+`
  http-servers: {h: {address: "http://127.0.0.1:1", buffering: {max-staleness: 1ms, flush-trigger-size: 100B, max-buffer-size: 1KiB}}}
  fluent-servers: {f: {address: "127.0.0.1:1", buffering: {max-staleness: 1ms, flush-trigger-size: 100B, max-buffer-size: 1KiB}}}
  syslog-servers: {s: {net: unix, address: `+os.DevNull+`, buffering: {max-staleness: 1ms, flush-trigger-size: 100B, max-buffer-size: 1KiB}}}`)
	b.lines(0, 1000)
	b.close()
	for _, name := range []string{"http-servers.h", "fluent-servers.f", "syslog-servers.s"} {
		// The lines, and those by which the sinks told of their failures.
		if n := b.metric("log_messages_dropped", name); n < 1000 || n > 1003 {
			t.Errorf("%s: %d lines were dropped", name, n)
		}
	}
}
