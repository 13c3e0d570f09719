// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"encoding/json"
	"flag"
	"io"
	"strings"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
)

// defaultHTTPAddr is where an engine listens that was told nothing.
const defaultHTTPAddr = "127.0.0.1:8500"

// callBound is above the time that a node itself retries a request without a leader.
const callBound = 30 * time.Second

// target is the flags that say which nodes to talk to.
type target struct {
	env       *Env
	addresses words
	partition string
	certs     clientCerts
}

func (t *target) define(env *Env, flags *flag.FlagSet) {
	t.env = env
	flags.Var(&t.addresses, "http-addr", "`address` of a node's HTTP API, host:port or URL; may be repeated, or a list with commas.\nAny node serves any request. HOLDFAST_HTTP_ADDR, or "+defaultHTTPAddr+",\nor, with -ca-file, "+defaultHTTPSAddr)
	t.certs.define(env, flags)
}

func (t *target) definePartition(flags *flag.FlagSet) {
	flags.StringVar(&t.partition, "partition", "", "`name` of the partition (default \"default\")")
}

// list returns the addresses in the order of the flags.
func (t *target) list() []string {
	given := t.addresses
	if len(given) == 0 {
		given = words{t.env.Getenv("HOLDFAST_HTTP_ADDR")}
	}
	var list []string
	for _, g := range given {
		for a := range strings.SplitSeq(g, ",") {
			if a = strings.TrimSpace(a); a == "" {
				continue
			}
			if t.certs.given() && !strings.Contains(a, "://") {
				a = "https://" + a
			}
			list = append(list, a)
		}
	}
	if len(list) == 0 {
		list = []string{defaultHTTPAddr}
		if t.certs.given() {
			list[0] = defaultHTTPSAddr
		}
	}
	return list
}

// client returns a client of the addresses and a context that bounds a call.
func (t *target) client(ctx context.Context) (*api.Client, context.Context, context.CancelFunc, error) {
	secure, err := t.certs.config()
	if err != nil {
		return nil, nil, nil, err
	}
	c, err := api.New(api.Config{Addresses: t.list(), TLS: secure})
	if err != nil {
		return nil, nil, nil, usage("%w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, callBound)
	return c, ctx, func() { cancel(); c.Close() }, nil
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
