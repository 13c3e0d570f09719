// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package emulator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"

	"cloud.google.com/go/compute/apiv1/computepb"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/holdfastdb/terraform-provider-holdfast/test/gcefake/discovery"
)

// Server is one project. It is an http.Handler for /compute/v1/.
type Server struct {
	config Config
	ctx    context.Context // ended by Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // what runs by the clock
	mu     struct {
		sync.Mutex
		closed bool
		serial uint64 // of operations, ids, addresses

		networks    table[*computepb.Network]
		subnetworks table[*computepb.Subnetwork]
		firewalls   table[*computepb.Firewall]
		images      table[*computepb.Image]
		disks       table[*computepb.Disk]
		instances   table[*computepb.Instance]
		public      []*computepb.Image // of other projects
		guests      map[uint64]*guest  // by instance id
		exhausted   map[string]bool    // by zone
		reserved    map[string]usage   // by region: what running operations will add

		operations []*operation
		busy       map[string]*operation // by path of a resource: who is at work on it
		replays    map[string]replay     // by requestId
		faults     []*Injected
		calls      []*Call
	}
}

// New makes a project.
func New(c Config) (*Server, error) {
	c, err := defaults(c)
	if err != nil {
		return nil, err
	}
	s := &Server{config: c}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.mu.networks = newTable[*computepb.Network]("networks")
	s.mu.subnetworks = newTable[*computepb.Subnetwork]("subnetworks")
	s.mu.firewalls = newTable[*computepb.Firewall]("firewalls")
	s.mu.images = newTable[*computepb.Image]("images")
	s.mu.disks = newTable[*computepb.Disk]("disks")
	s.mu.instances = newTable[*computepb.Instance]("instances")
	s.mu.guests = map[uint64]*guest{}
	s.mu.exhausted = map[string]bool{}
	s.mu.reserved = map[string]usage{}
	s.mu.busy = map[string]*operation{}
	s.mu.replays = map[string]replay{}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seedLocked()
	return s, nil
}

// seedLocked makes what a new project has.
func (s *Server) seedLocked() {
	for _, p := range append(DefaultImages(), s.config.Images...) {
		if p.Project == s.config.Project {
			s.mu.images.put("global", publicImage(p))
		} else {
			s.mu.public = append(s.mu.public, publicImage(p))
		}
	}
	if !s.config.WithoutDefaultNetwork {
		s.addNetworkLocked(&computepb.Network{Name: new("default"), AutoCreateSubnetworks: new(true)})
	}
}

// Close ends operations under way, what stands behind them, and waits for both.
// Requests that come afterwards are answered, and nothing happens by the clock
// any more.
func (s *Server) Close() {
	s.mu.Lock()
	s.mu.closed = true
	s.mu.Unlock()
	s.cancel()
	s.wg.Wait()
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, hr *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, hr.Body, 10<<20))
	if err != nil {
		return // the client has gone, or sends what nobody sends
	}
	call := &Call{Time: s.config.Clock.Now(), Path: strings.TrimPrefix(hr.URL.Path, "/compute/v1/"), RequestID: hr.URL.Query().Get("requestId")}
	matched, violations := s.config.Document.Match(hr.Method, hr.URL.EscapedPath())
	r := &request{method: matched.Method, params: matched.Params, path: call.Path, query: hr.URL.Query(), body: body}
	if r.method != nil {
		call.Method, call.Scope, call.Name = r.method.ID, r.scope(), r.name()
		violations = append(violations, s.config.Document.Check(r.method, r.query, body)...)
	}
	call.Violations = violations

	defer s.tell(call)
	s.mu.Lock()
	s.mu.calls = append(s.mu.calls, call)
	fault := *s.faultLocked(call.Method, r.target(call.Name))
	call.Fault = fault.HTTP != nil || fault.Operation != nil || fault.Lost || fault.Reset || fault.Then != nil
	s.mu.Unlock()
	if fault.Reset {
		reset(w)
		return
	}
	r.fail = fault.Operation

	status, out := http.StatusOK, []byte(nil)
	if fault.HTTP != nil {
		err = fault.HTTP
	} else {
		out, err = s.answer(hr, r, call)
	}
	if err != nil {
		status, out = failure(err)
	}
	s.pause(hr.Context())
	if fault.Then != nil {
		fault.Then()
	}
	if fault.Lost {
		panic(http.ErrAbortHandler)
	}
	s.mu.Lock()
	call.Status = status
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(status)
	_, _ = w.Write(out) // the client may have gone
}

// tell hands a call to whoever follows them.
func (s *Server) tell(call *Call) {
	if s.config.OnCall == nil {
		return
	}
	s.mu.Lock()
	told := *call
	s.mu.Unlock()
	s.config.OnCall(told)
}

// answer carries a request out and returns the body of the answer.
func (s *Server) answer(hr *http.Request, r *request, call *Call) ([]byte, error) {
	if s.config.Token != "" && hr.Header.Get("Authorization") != "Bearer "+s.config.Token {
		return nil, &HTTPError{Status: http.StatusUnauthorized, Reason: "authError",
			Message: "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential."}
	}
	if len(call.Violations) > 0 {
		return nil, violated(call.Violations)
	}
	if err := s.checkScope(r); err != nil {
		return nil, err
	}
	handle := handlers[r.method.ID]
	if handle == nil {
		return nil, &HTTPError{Status: http.StatusNotImplemented, Reason: "notImplemented", Message: r.method.ID + " is not emulated"}
	}
	if r.method.Verb() == "wait" {
		s.awaitOperation(hr.Context(), r)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	msg, err := s.replayLocked(r)
	if msg == nil && err == nil {
		msg, err = handle(s, r)
	} else {
		call.Replayed = err == nil
	}
	if err != nil {
		return nil, err
	}
	if r.operation != nil {
		call.Operation = r.operation.msg.GetName()
	}
	out, err := protojson.MarshalOptions{}.Marshal(msg)
	if err != nil {
		return nil, err
	}
	if wrong := s.config.Document.CheckResponse(r.method, out); len(wrong) > 0 {
		return nil, fmt.Errorf("the emulator's own answer to %s does not fit the document: %v", r.method.ID, wrong)
	}
	return out, nil
}

var requestID = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// replayLocked returns the operation of the same request made before, nil for
// none.
func (s *Server) replayLocked(r *request) (answer, error) {
	id := r.query.Get("requestId")
	if !r.query.Has("requestId") {
		return nil, nil
	}
	if !requestID.MatchString(id) || strings.Trim(id, "0-") == "" {
		return nil, invalid("requestId", id, "A request ID must be a valid, nonzero UUID.")
	}
	before, ok := s.mu.replays[id]
	if !ok {
		return nil, nil
	}
	if before.fingerprint != r.fingerprint() {
		return nil, invalid("requestId", id, "The request ID was used before, for a different request.")
	}
	r.operation = before.op
	return before.op.msg, nil
}

// pause lets Config.Latency pass.
func (s *Server) pause(ctx context.Context) {
	if s.config.Latency <= 0 {
		return
	}
	over := make(chan struct{}) // closed by the clock
	s.config.Clock.AfterFunc(s.config.Latency, func() { close(over) })
	select {
	case <-over:
	case <-ctx.Done():
	case <-s.ctx.Done():
	}
}

func violated(violations []discovery.Violation) error {
	var lines []string
	for _, v := range violations {
		lines = append(lines, v.String())
	}
	return badRequest("invalid", "Invalid request: %s", strings.Join(lines, "; "))
}

// failure is the answer to an error.
func failure(err error) (int, []byte) {
	answer, ok := errors.AsType[*HTTPError](err)
	if !ok {
		answer = &HTTPError{Status: http.StatusInternalServerError, Reason: "internalError", Message: err.Error()}
	}
	var out bytes.Buffer
	if err := json.NewEncoder(&out).Encode(answer); err != nil {
		return http.StatusInternalServerError, nil
	}
	return answer.Status, out.Bytes()
}

// reset ends the connection with RST.
func reset(w http.ResponseWriter) {
	if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = conn.Close()
		return
	}
	panic(http.ErrAbortHandler)
}
