// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package httpapi

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"slices"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/kv"
)

// maxSettingsBody bounds the body of PUT /v1/operator/settings.
const maxSettingsBody = 64 << 10

func (h *handler) statusLeader(w http.ResponseWriter, _ *http.Request, p *params) error {
	addr, err := h.backend.LeaderAddress(p.partition)
	if err != nil {
		return err
	}
	return writeJSON(w, addr, p.pretty)
}

func (h *handler) statusPeers(w http.ResponseWriter, _ *http.Request, p *params) error {
	c, err := h.backend.RaftConfiguration(p.partition)
	if err != nil {
		return err
	}
	peers := make([]string, 0, len(c.Servers))
	for _, s := range c.Servers {
		peers = append(peers, s.Address)
	}
	return writeJSON(w, peers, p.pretty)
}

// raftConfiguration answers, like Consul, without a leader only with ?stale.
func (h *handler) raftConfiguration(w http.ResponseWriter, _ *http.Request, p *params) error {
	if !p.stale {
		leader, err := h.backend.LeaderAddress(p.partition)
		if err != nil {
			return err
		}
		if leader == "" {
			return ErrNoLeader
		}
	}
	c, err := h.backend.RaftConfiguration(p.partition)
	if err != nil {
		return err
	}
	if c.Servers == nil {
		c.Servers = []api.RaftServer{}
	}
	return writeJSON(w, c, p.pretty)
}

func (h *handler) settings(w http.ResponseWriter, r *http.Request, p *params) error {
	if r.Method == http.MethodGet {
		return writeJSON(w, h.backend.Settings(), p.pretty)
	}
	body, err := readBody(w, r, maxSettingsBody)
	if err != nil {
		return err
	}
	var change api.SettingsChange
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&change); err != nil {
		return badRequest(`the body does not parse: %v: send {"settings": {"%s": "100ms"}}, with null for the default`,
			err, kv.SettingUnhealthyOpThreshold)
	}
	if d.More() {
		return badRequest("the body does not parse: something follows the JSON object")
	}
	cmd := kv.Command{Op: kv.OpSettings, Settings: change.Settings}
	if err := cmd.Validate(); err != nil {
		return err
	}
	// Settings live in "default" whatever partition the caller had in mind.
	res, err := h.backend.Apply(r.Context(), "default", cmd)
	if err == nil {
		err = resultError(res)
	}
	if err != nil {
		return err
	}
	return writeJSON(w, true, p.pretty)
}

func (h *handler) stores(w http.ResponseWriter, _ *http.Request, p *params) error {
	s := h.backend.Stores()
	if s.Stores == nil {
		s.Stores = []api.Store{}
	}
	return writeJSON(w, s, p.pretty)
}

func (h *handler) agentMetrics(w http.ResponseWriter, r *http.Request, p *params) error {
	handler := h.metrics
	switch p.form {
	case "":
	case "prometheus":
		handler = h.prometheus
	default:
		return badRequest("unknown metrics format %q: leave ?format out for JSON, or ask for prometheus", p.form)
	}
	if handler == nil {
		return &statusError{http.StatusNotImplemented, "this node keeps no metrics of that format"}
	}
	handler.ServeHTTP(w, r)
	return nil
}

// SettingsOf puts the state machine's settings into the form of the API.
func SettingsOf(s kv.Settings, defaults map[string]string) api.Settings {
	return api.Settings{
		Settings: s.Effective(defaults),
		Set:      append([]string{}, slices.Sorted(maps.Keys(s.Set))...),
		Index:    s.Index,
	}
}
