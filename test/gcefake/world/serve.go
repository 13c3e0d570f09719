// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package world

import (
	"net"
	"net/http"
	"time"
)

// serve ends with its listener.
func serve(l net.Listener, h http.Handler) {
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	_ = s.Serve(l) // whoever closed it knows
}
