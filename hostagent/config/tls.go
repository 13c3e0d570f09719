// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package config

import (
	"cmp"
	"fmt"
	"net"
	"path/filepath"
	"strconv"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

// TLS is where certificates are, and what they are used for.
type TLS struct {
	CA, Cert, Key string
	// AnyClient lets clients of HTTPS in without a certificate.
	AnyClient bool
	// HTTPSAddress is host:port of the HTTP API over TLS.
	HTTPSAddress string
}

// defaultHTTPSPort is Consul's.
const defaultHTTPSPort = 8501

// secured tells whether the engine has certificates.
func (f *File) secured() bool {
	return f.CertsDir != "" || f.CAFile != "" || f.CertFile != "" || f.KeyFile != ""
}

// CertFiles are the three files, empty without TLS.
func (f *File) CertFiles() (ca, cert, key string) {
	in := func(name string) string {
		if f.CertsDir == "" {
			return ""
		}
		return filepath.Join(f.CertsDir, name)
	}
	return cmp.Or(f.CAFile, in("ca.crt")), cmp.Or(f.CertFile, in("node.crt")), cmp.Or(f.KeyFile, in("node.key"))
}

// listeners fills in HTTPAddress and TLS: what others can reach has TLS.
func (f *File) listeners(c *Config) error {
	plain := cmp.Or(f.Addresses.HTTP, f.ClientAddr, c.BindAddress)
	if f.secured() {
		if err := f.tls(c); err != nil {
			return err
		}
		// client_addr and bind_addr are for the listeners that have TLS.
		if f.Addresses.HTTP == "" {
			plain = plainHost(plain)
		}
	} else if f.Ports.HTTPS > 0 || f.Addresses.HTTPS != "" {
		c.Warnings = append(c.Warnings, "ports.https and addresses.https have no effect without certificates: give certs_dir")
	}
	c.HTTPAddress = net.JoinHostPort(plain, strconv.Itoa(c.Ports.HTTP))
	if !loopback(plain) {
		return refuse("addresses.http", plain, "not a loopback address, and plain HTTP has no TLS",
			"Use an address of 127.0.0.0/8, or certs_dir and addresses.https.")
	}
	if c.TLS != nil && c.TLS.HTTPSAddress == c.HTTPAddress {
		return refuse("ports.https", c.TLS.HTTPSAddress, "the address of plain HTTP too", "Give each listener a port of its own.")
	}
	return nil
}

// plainHost is where plain HTTP listens beside an address that has TLS.
func plainHost(bind string) string {
	if loopback(bind) {
		return bind
	}
	return "127.0.0.1"
}

// HTTPAddress is host:port of the plain HTTP API of an engine with this spec.
func HTTPAddress(s *agentapi.Spec) string {
	host := s.BindAddress
	if s.TLS != nil {
		host = plainHost(host)
	}
	return net.JoinHostPort(host, strconv.Itoa(s.Ports.HTTP))
}

func (f *File) tls(c *Config) error {
	t := &TLS{}
	t.CA, t.Cert, t.Key = f.CertFiles()
	for _, key := range []struct{ name, value string }{{"ca_file", t.CA}, {"cert_file", t.Cert}, {"key_file", t.Key}} {
		if key.value == "" {
			return refuse(key.name, "", "left out, and TLS needs it", "Give ca_file, cert_file and key_file, or certs_dir.")
		}
	}
	verify := true
	for _, v := range []*bool{f.VerifyIncoming, f.VerifyIncomingHTTPS} {
		if v != nil {
			verify = *v
		}
	}
	t.AnyClient = !verify
	host, port := cmp.Or(f.Addresses.HTTPS, f.ClientAddr, c.BindAddress), cmp.Or(f.Ports.HTTPS, defaultHTTPSPort)
	switch {
	case port < 1 || port > 65535:
		return refuse("ports.https", strconv.Itoa(port), "not a port", "Use a number from 1 to 65535; Consul's is 8501.")
	case port == c.Ports.Server:
		return refuse("ports.https", strconv.Itoa(port), "the same as ports.server", "Give each listener a port of its own.")
	}
	t.HTTPSAddress = net.JoinHostPort(host, strconv.Itoa(port))
	if t.AnyClient && !loopback(host) {
		c.Warnings = append(c.Warnings, fmt.Sprintf(
			"verify_incoming is false: whoever reaches %s may read and write everything", t.HTTPSAddress))
	}
	if ip := net.ParseIP(host); ip == nil && host != "localhost" {
		return refuse("addresses.https", host, "not an IP address", "Write an address of this machine, or 0.0.0.0 for all.")
	}
	if h, _, err := net.SplitHostPort(c.ServerAddress()); err == nil {
		if ip := net.ParseIP(h); ip != nil && ip.IsUnspecified() {
			return refuse("advertise_addr", h, "the other servers cannot dial it", "Give the address that they reach this server at.")
		}
	}
	c.TLS = t
	return nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func refuse(field, value, why, next string) error {
	return &agentapi.Error{What: "the configuration is refused", Why: fmt.Sprintf("%s = %q: %s", field, value, why), Next: next, Field: field}
}
