// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package console

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func get(h http.Handler, method, target string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, target, nil))
	return w
}

func TestRoutes(t *testing.T) {
	c := Start(Config{Source: find(t, "healthy-follower")})
	defer c.Close()
	for _, tc := range []struct {
		method, target string
		status         int
		mime           string
	}{
		{"GET", "/ui", 200, "text/html; charset=utf-8"},
		{"HEAD", "/ui", 200, "text/html; charset=utf-8"},
		{"GET", "/ui/", 301, "text/html; charset=utf-8"},
		{"GET", "/ui/data", 200, "application/json"},
		{"GET", "/ui/data?range=6h&after=1", 200, "application/json"},
		{"GET", "/ui/data?range=1y", 400, "text/plain; charset=utf-8"},
		{"GET", "/ui/data?after=yesterday", 400, "text/plain; charset=utf-8"},
		{"GET", assets["console.css"].url, 200, "text/css; charset=utf-8"},
		{"GET", assets["console.js"].url, 200, "text/javascript; charset=utf-8"},
		{"GET", assets["icon-bad.svg"].url, 200, "image/svg+xml"},
		{"GET", "/ui/assets/console.css", 404, "text/plain; charset=utf-8"},
		{"GET", "/ui/assets/../console.go", 404, "text/plain; charset=utf-8"},
		{"GET", "/ui/nothing", 404, "text/plain; charset=utf-8"},
		{"POST", "/ui", 405, "text/plain; charset=utf-8"},
		{"DELETE", "/ui/data", 405, "text/plain; charset=utf-8"},
	} {
		t.Run(tc.method+" "+tc.target, func(t *testing.T) {
			w := get(c, tc.method, tc.target)
			h := w.Result().Header
			if w.Code != tc.status || h.Get("Content-Type") != tc.mime {
				t.Errorf("%d %s, want %d %s: %s", w.Code, h.Get("Content-Type"), tc.status, tc.mime, w.Body)
			}
			want := "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'"
			if got := h.Get("Content-Security-Policy"); !strings.HasPrefix(got, want) || strings.Contains(got, "unsafe") {
				t.Errorf("the policy is %q", got)
			}
			if h.Get("X-Content-Type-Options") != "nosniff" {
				t.Error("a browser may guess the type")
			}
			cache := "no-store"
			switch {
			case tc.status == 200 && strings.HasPrefix(tc.target, assetPath):
				cache = "public, max-age=31536000, immutable"
			case tc.status != 200:
				cache = ""
			}
			if got := h.Get("Cache-Control"); got != cache {
				t.Errorf("Cache-Control is %q, want %q", got, cache)
			}
		})
	}
}

// TestLinked: whatever the page names is served, and nothing else is named.
func TestLinked(t *testing.T) {
	c := Start(Config{Source: find(t, "healthy-follower")})
	defer c.Close()
	page := get(c, "GET", "/ui").Body.String()
	found := regexp.MustCompile(`/ui/assets/[^"]*`).FindAllString(page, -1)
	if len(found) < 6 {
		t.Fatalf("the page names %v", found)
	}
	for _, u := range found {
		if w := get(c, "GET", u); w.Code != http.StatusOK {
			t.Errorf("%s: %d", u, w.Code)
		}
	}
	if license, err := assetFiles.ReadFile("assets/uplot/LICENSE"); err != nil || !strings.Contains(string(license), "MIT License") {
		t.Errorf("uPlot's licence is not with it: %v", err)
	}
}

// TestData: a page gets everything once, then what is new.
func TestData(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Start(Config{Source: find(t, "two-stores")})
		defer c.Close()
		read := func(query string) (a struct {
			answer
			Columns map[string][]*float64 `json:"columns"`
		}) {
			t.Helper()
			w := get(c, "GET", "/ui/data"+query)
			if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
				t.Fatalf("%v: %s", err, w.Body)
			}
			return a
		}
		if a := read(""); len(a.Times) != 0 || a.Times == nil || a.Columns["p99"] == nil {
			t.Errorf("at first there are %v and %v", a.Times, a.Columns)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		a := read("")
		if len(a.Times) != 5 || a.Times[4] != a.At || a.StepMS != 1000 || a.SpanMS != 600000 {
			t.Errorf("after 5 s at %d: %v, each %d of %d ms", a.At, a.Times, a.StepMS, a.SpanMS)
		}
		for key, want := range map[string]float64{"applied": 0, "secondary0": 0, "over0": 0, "secondary1": 0.9, "over1": 1, "switches1": 1} {
			if got := a.Columns[key]; len(got) != 5 || got[4] == nil || *got[4] != want {
				t.Errorf("%s: %v, want %v", key, got, want)
			}
		}
		if got := a.Columns["p99"]; len(got) != 5 || got[4] != nil {
			t.Errorf("nobody wrote, and p99 is %v", got)
		}
		if a.Title != "● orders / a: secondary" || a.Tone != toneWarn || !strings.Contains(a.Parts["stores"], "/srv/orders/a/data2") {
			t.Errorf("%q, %q, %s", a.Title, a.Tone, a.Parts["stores"])
		}
		for _, part := range liveParts {
			if a.Parts[part] == "" {
				t.Errorf("the part %q is empty", part)
			}
		}
		if next := read("?after=" + strconv.FormatInt(a.Times[2], 10)); len(next.Times) != 2 || len(next.Columns["over1"]) != 2 || next.Boot != a.Boot {
			t.Errorf("after the third row: %v %v", next.Times, next.Columns)
		}
		if hours := read("?range=6h"); len(hours.Times) != 0 || hours.StepMS != 10000 || hours.SpanMS != 6*3600*1000 {
			t.Errorf("hours: %v, each %d of %d ms", hours.Times, hours.StepMS, hours.SpanMS)
		}
	})
}

// TestOtherStores: rows have the columns of the stores at the start, so none
// are added once the node has others.
func TestOtherStores(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := find(t, "healthy-follower")
		c := Start(Config{Source: f})
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if n := len(columns(c, false)["applied"]); n != 2 {
			t.Errorf("%d rows after 2 s", n)
		}
		c.Close()
		c.Close() // again is no harm
		f.stores = find(t, "two-stores").stores
		other := Start(Config{Source: find(t, "healthy-follower")})
		other.Close()
		if other.same(&f.stores) {
			t.Error("two stores are taken for one")
		}
		if w := get(c, "GET", "/ui"); w.Code != http.StatusOK {
			t.Errorf("after Close: %d", w.Code)
		}
	})
}
