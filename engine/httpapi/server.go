// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package httpapi

import (
	"fmt"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Config is what the handlers need.
type Config struct {
	Backend Backend
	Logger  hclog.Logger
	// Metrics answers /v1/agent/metrics as JSON, Prometheus the same with
	// ?format=prometheus. Where one is nil the answer is 501.
	Metrics, Prometheus http.Handler
	// Console answers /ui and what is below it; where it is nil nothing does.
	Console http.Handler
	// Hosts are names, without port, that clients may call this node by,
	// besides IP addresses and localhost; "*" allows any.
	Hosts []string
}

// Limits of a connection. Writing one answer may take as long as
// writeTimeout, which bounds a slow reader of a large list.
const (
	readHeaderTimeout = 10 * time.Second
	bodyTimeout       = 30 * time.Second
	writeTimeout      = 5 * time.Minute
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 64 << 10
)

// NewServer returns a server with every limit set, ready for Serve. Its owner
// closes it.
func NewServer(cfg Config) *http.Server {
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	return &http.Server{
		Handler:           NewHandler(cfg),
		ReadHeaderTimeout: readHeaderTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          cfg.Logger.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug}),
	}
}

// NewHandler returns the whole API as one handler.
func NewHandler(cfg Config) http.Handler {
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	return &handler{
		backend: cfg.Backend, log: cfg.Logger,
		metrics: cfg.Metrics, prometheus: cfg.Prometheus, console: cfg.Console,
		hosts: slices.Clone(cfg.Hosts), anyHost: slices.Contains(cfg.Hosts, "*"),
	}
}

// handler routes by hand: http.ServeMux would clean paths, and a key may hold
// "//" and "..".
type handler struct {
	backend             Backend
	log                 hclog.Logger
	metrics, prometheus http.Handler
	console             http.Handler
	hosts               []string
	anyHost             bool
	crossOrigin         http.CrossOriginProtection
}

const (
	kvPath      = "/v1/kv/"
	consolePath = "/ui"
)

// ServeHTTP answers one request.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer h.recover(w, r)
	if !h.hostAllowed(r.Host) {
		fail(w, http.StatusForbidden, fmt.Sprintf("this server does not answer to the name %q: "+
			"use its IP address or localhost, or add the name to the hosts it may be called by", hostname(r.Host)))
		return
	}
	if err := h.crossOrigin.Check(r); err != nil {
		fail(w, http.StatusForbidden, "a page of another site may not write here: "+err.Error())
		return
	}
	path := r.URL.Path
	if strings.HasPrefix(path, kvPath) {
		h.kv(w, r, path[len(kvPath):])
		return
	}
	if h.console != nil && (path == consolePath || strings.HasPrefix(path, consolePath+"/")) {
		h.console.ServeHTTP(w, r)
		return
	}
	route := findRoute(path)
	if route == nil {
		h.notFound(w, path)
		return
	}
	if !allowed(w, r, route.allow, route.methods...) {
		return
	}
	p, err := parseParams(r.URL.RawQuery)
	if err != nil {
		h.failErr(w, err)
		return
	}
	if err := route.serve(h, w, r, &p); err != nil {
		h.failErr(w, err)
	}
}

// route is a path other than a key's.
type route struct {
	path    string
	methods []string
	allow   []string // value of the Allow header
	serve   func(*handler, http.ResponseWriter, *http.Request, *params) error
}

var routes = []route{
	newRoute("/v1/status/leader", (*handler).statusLeader, http.MethodGet),
	newRoute("/v1/status/peers", (*handler).statusPeers, http.MethodGet),
	newRoute("/v1/operator/raft/configuration", (*handler).raftConfiguration, http.MethodGet),
	newRoute("/v1/operator/settings", (*handler).settings, http.MethodGet, http.MethodPut),
	newRoute("/v1/agent/metrics", (*handler).agentMetrics, http.MethodGet),
	newRoute("/_status/stores", (*handler).stores, http.MethodGet),
}

func newRoute(path string, serve func(*handler, http.ResponseWriter, *http.Request, *params) error, methods ...string) route {
	return route{path: path, methods: methods, allow: allowValue(methods...), serve: serve}
}

// allowValue is the Allow header as Consul writes it.
func allowValue(methods ...string) []string {
	return []string{"OPTIONS," + strings.Join(methods, ",")}
}

func findRoute(path string) *route {
	for i := range routes {
		if routes[i].path == path {
			return &routes[i]
		}
	}
	return nil
}

// notBuilt are the parts of Consul's API that Holdfast means to have.
var notBuilt = []string{"/v1/session/", "/v1/txn", "/v1/snapshot", "/v1/catalog/", "/v1/health/", "/v1/acl/",
	"/v1/event/", "/v1/operator/", "/v1/agent/", "/v1/coordinate/", "/v1/query"}

func (h *handler) notFound(w http.ResponseWriter, path string) {
	if path == "/" {
		w.Header()["Content-Type"] = textType
		text := "Holdfast engine\n"
		if h.console != nil {
			text = "Holdfast engine; its console is at " + consolePath + "\n"
		}
		_, _ = w.Write([]byte(text)) // a client that left is no news
		return
	}
	for _, p := range notBuilt {
		if strings.HasPrefix(path, p) {
			fail(w, http.StatusNotFound, fmt.Sprintf("%s is not built yet in Holdfast", path))
			return
		}
	}
	fail(w, http.StatusNotFound, fmt.Sprintf("there is nothing at %s; keys are under %s", path, kvPath))
}

// allowed answers OPTIONS and refuses methods that the path does not have.
func allowed(w http.ResponseWriter, r *http.Request, allow []string, methods ...string) bool {
	if slices.Contains(methods, r.Method) {
		return true
	}
	w.Header()["Allow"] = allow
	if r.Method != http.MethodOptions {
		fail(w, http.StatusMethodNotAllowed, fmt.Sprintf("method %s not allowed", r.Method))
	}
	return false
}

// hostAllowed tells whether a request was meant for this server, and not for
// a name that somebody else pointed at its address.
func (h *handler) hostAllowed(host string) bool {
	if h.anyHost || host == "" { // HTTP/1.0: no browser
		return true
	}
	if _, err := netip.ParseAddrPort(host); err == nil {
		return true
	}
	name := hostname(host)
	if _, err := netip.ParseAddr(name); err == nil {
		return true
	}
	name = strings.TrimSuffix(name, ".")
	if strings.EqualFold(name, "localhost") {
		return true
	}
	return slices.ContainsFunc(h.hosts, func(s string) bool { return strings.EqualFold(s, name) })
}

// hostname is a Host header without port and brackets.
func hostname(host string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && strings.IndexByte(host[i:], ']') < 0 &&
		(strings.IndexByte(host, ':') == i || strings.HasPrefix(host, "[")) {
		host = host[:i]
	}
	return strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
}

func (h *handler) recover(w http.ResponseWriter, r *http.Request) {
	v := recover()
	if v == nil {
		return
	}
	if v == http.ErrAbortHandler { //nolint:errorlint // panic value, compared as net/http does
		panic(v)
	}
	h.log.Error("a handler panicked", "method", r.Method, "path", r.URL.Path, "panic", v, "stack", string(debug.Stack()))
	fail(w, http.StatusInternalServerError, "the request failed inside the engine; its log has the details")
}
