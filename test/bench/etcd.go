// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

const etcdClient, etcdPeer = 2379, 2380

// etcdSystem is a cluster of etcd, each node a process of etcdpeer.
func etcdSystem(o options) *system {
	s := &system{name: "etcd", ports: []int{etcdClient, etcdPeer}}
	var cluster []string
	for i := range nodes {
		host := address(o, peersFirst+i)
		s.addresses = append(s.addresses, host)
		s.endpoints = append(s.endpoints, "http://"+net.JoinHostPort(host, strconv.Itoa(etcdClient)))
		cluster = append(cluster, nodeName(i)+"=http://"+net.JoinHostPort(host, strconv.Itoa(etcdPeer)))
	}
	s.command = func(i int, disk, _ string) ([]string, error) {
		return []string{
			o.etcd, "server", nodeName(i), filepath.Join(disk, "etcd"), s.endpoints[i],
			strings.TrimPrefix(cluster[i], nodeName(i)+"="), strings.Join(cluster, ","),
		}, nil
	}
	s.loader = func() ([]string, error) { return []string{o.etcd, "load"}, nil }
	s.leader = etcdLeader
	return s
}

// etcdLeader asks each node for its own id and the leader's, over etcd's JSON
// gateway: the harness links no etcd.
func etcdLeader(ctx context.Context, endpoints []string) (int, error) {
	for i, e := range endpoints {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, e+"/v3/maintenance/status", strings.NewReader("{}"))
		if err != nil {
			return 0, err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0, err
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close() // read to its end
		if err != nil {
			return 0, err
		}
		var status struct {
			Header struct {
				Member string `json:"member_id"`
			} `json:"header"`
			Leader string `json:"leader"`
		}
		if err := json.Unmarshal(body, &status); err != nil {
			return 0, fmt.Errorf("%s: %w: %s", e, err, body)
		}
		if status.Leader != "" && status.Leader != "0" && status.Leader == status.Header.Member {
			return i, nil
		}
	}
	return 0, fmt.Errorf("no leader among %v yet", endpoints)
}

// buildPeer builds etcdpeer from this module's etcd. It takes minutes once.
func buildPeer(ctx context.Context, to string) error {
	if _, err := os.Stat("etcdpeer"); err != nil {
		return fmt.Errorf("building etcd: %w: run this in test/bench (make bench PEERS=1 does), or name a built one with -etcd", err)
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-tags", "peers", "-o", to, "./etcdpeer")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("building etcd: %w", err)
	}
	return nil
}
