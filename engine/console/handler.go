// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package console

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
)

// policy is the Content-Security-Policy of every answer.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// ServeHTTP answers /ui and what is below it. Whether the caller may ask at
// all is for whoever mounts it.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		http.Error(w, "the console only shows: GET and HEAD", http.StatusMethodNotAllowed)
		return
	}
	switch r.URL.Path {
	case "/ui":
		c.page(w)
	case "/ui/":
		http.Redirect(w, r, "/ui", http.StatusMovedPermanently)
	case "/ui/data":
		c.data(w, r)
	default:
		a := assetsByURL[r.URL.Path]
		if a == nil {
			http.Error(w, fmt.Sprintf("there is nothing at %s; the console is at /ui", r.URL.Path), http.StatusNotFound)
			return
		}
		h.Set("Content-Type", a.mime)
		h.Set("Cache-Control", "public, max-age=31536000, immutable") // the name has the content's hash
		h.Set("Content-Length", strconv.Itoa(len(a.body)))
		_, _ = w.Write(a.body) // a client that left is no news
	}
}

// look gathers what there is to show.
func (c *Console) look() *state {
	s := &state{Now: time.Now(), Stores: c.source.Stores(), Raft: make(map[string]api.RaftConfiguration), Contact: make(map[[2]string]time.Time)}
	s.Applied, s.Writes, s.P99 = c.newest()
	for _, p := range s.partitions() {
		conf, err := c.source.RaftConfiguration(p.Name)
		if err != nil {
			c.log.Debug("the console shows a partition without its configuration", "partition", p.Name, "error", err)
			continue
		}
		s.Raft[p.Name] = conf
		for _, srv := range conf.Servers {
			s.Contact[[2]string{p.Name, srv.ID}] = c.source.PeerContact(p.Name, srv.ID)
		}
	}
	return s
}

// frame is a page and what it needs of this process.
type frame struct {
	page
	Boot string
	Icon string
}

func (c *Console) page(w http.ResponseWriter) {
	p := render(c.look())
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, "page", frame{page: p, Boot: c.boot, Icon: "icon-" + string(p.Tone) + ".svg"}); err != nil {
		c.fail(w, err)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	_, _ = w.Write(b.Bytes())
}

// liveParts are the templates that /ui/data renders, each for the element with
// its name as id.
var liveParts = []string{"head", "tiles", "stores", "nodes", "partitions"}

// answer is the body of /ui/data.
type answer struct {
	// Boot differs where the node is another process than the page was made
	// by: the page begins anew.
	Boot     string `json:"boot"`
	Title    string `json:"title"`
	Tone     tone   `json:"tone"`
	Sentence string `json:"sentence"`
	// Parts are HTML by the id of the element that it is for.
	Parts map[string]string `json:"parts"`
	// At is the node's time, and Times those of the rows, in Unix ms by the
	// same clock; StepMS is between two rows, SpanMS what is kept of them.
	At      int64             `json:"at"`
	StepMS  int64             `json:"step_ms"`
	SpanMS  int64             `json:"span_ms"`
	Times   []int64           `json:"times"`
	Columns map[string]column `json:"columns"`
}

// data answers with the page's parts and the rows that the caller lacks:
// ?range=10m (default) or 6h, ?after=<newest row's time>.
func (c *Console) data(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	coarse, rows := false, int64(fineRows)
	switch v := q.Get("range"); v {
	case "", "10m":
	case "6h":
		coarse, rows = true, coarseRows
	default:
		http.Error(w, fmt.Sprintf("range %q is not kept: ask for 10m or 6h", v), http.StatusBadRequest)
		return
	}
	after := int64(math.MinInt64)
	if v := q.Get("after"); v != "" {
		var err error
		if after, err = strconv.ParseInt(v, 10, 64); err != nil {
			http.Error(w, fmt.Sprintf("after %q is not a time in Unix milliseconds", v), http.StatusBadRequest)
			return
		}
	}
	s := c.look()
	p := render(s)
	a := answer{Boot: c.boot, Title: p.Title, Tone: p.Tone, Sentence: p.Sentence, At: c.clock(s.Now),
		Parts: make(map[string]string), Columns: make(map[string]column)}
	for _, name := range liveParts {
		var b bytes.Buffer
		if err := templates.ExecuteTemplate(&b, name, p); err != nil {
			c.fail(w, err)
			return
		}
		a.Parts[name] = b.String()
	}
	step, times, cols := c.rows(coarse, after)
	a.StepMS, a.SpanMS, a.Times = step.Milliseconds(), rows*step.Milliseconds(), times
	for i, col := range cols {
		a.Columns[columnKey(i)] = col
	}
	b, err := json.Marshal(&a)
	if err != nil {
		c.fail(w, err)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	_, _ = w.Write(b)
}

func (c *Console) fail(w http.ResponseWriter, err error) {
	c.log.Error("the console could not be rendered", "error", err)
	http.Error(w, "the console could not be rendered; the engine's log has the details", http.StatusInternalServerError)
}
