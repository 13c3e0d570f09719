// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package console_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/holdfastdb/terraform-provider-holdfast/test/cluster"
)

// TestNode: the pages of a real cluster's nodes know their peers, and count
// what is written. With Latency.Add taken out of engine/node the writes were
// seen to be missing.
func TestNode(t *testing.T) {
	c := cluster.New(t, cluster.Options{Stores: 2})
	c.Leader("default")
	c.Leader("p2")
	follower := c.Follower("default")
	url := "http://" + c.Node(follower).HTTPAddr()
	page := fetch(t, url+"/ui")
	for _, name := range c.Names() {
		if !strings.Contains(page, fmt.Sprintf(`<th role="rowheader" scope="row">%s`, name)) {
			t.Errorf("node %s is not on the page", name)
		}
	}
	for _, s := range c.Config(follower).Stores {
		if !strings.Contains(page, "<h3>"+s.Path+"</h3>") {
			t.Errorf("store %s is not on the page", s.Path)
		}
	}
	cluster.Eventually(t, "a second with a write through a follower", func() error {
		c.Put(follower, "key", "value")
		var a struct {
			Columns map[string][]*float64 `json:"columns"`
		}
		body := fetch(t, url+"/ui/data")
		if err := json.Unmarshal([]byte(body), &a); err != nil {
			t.Fatal(err)
		}
		for i, applied := range a.Columns["applied"] {
			writes, p99 := a.Columns["writes"][i], a.Columns["p99"][i]
			if applied != nil && *applied > 0 && writes != nil && *writes > 0 && p99 != nil && *p99 > 0 {
				return nil
			}
		}
		return fmt.Errorf("the columns have no write: %s", body[strings.LastIndex(body, `"times"`):])
	})
}

func fetch(t *testing.T, url string) string {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	if r.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d %s", url, r.StatusCode, b)
	}
	return string(b)
}
