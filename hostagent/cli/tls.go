// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"crypto/tls"
	"crypto/x509"
	"flag"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/config"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/pki"
)

// defaultHTTPSAddr is where an engine with certificates listens that was told
// nothing.
const defaultHTTPSAddr = "https://127.0.0.1:8501"

// clientCerts are the flags of TLS that say whom to trust and who one is.
type clientCerts struct{ ca, cert, key, serverName string }

func (c *clientCerts) define(env *Env, flags *flag.FlagSet) {
	flags.StringVar(&c.ca, "ca-file", env.Getenv("HOLDFAST_CACERT"), "the cluster's `ca.crt`; addresses are then of https. HOLDFAST_CACERT")
	flags.StringVar(&c.cert, "client-cert", env.Getenv("HOLDFAST_CLIENT_CERT"), "`client.NAME.crt`. HOLDFAST_CLIENT_CERT")
	flags.StringVar(&c.key, "client-key", env.Getenv("HOLDFAST_CLIENT_KEY"), "`client.NAME.key`. HOLDFAST_CLIENT_KEY")
	flags.StringVar(&c.serverName, "tls-server-name", env.Getenv("HOLDFAST_TLS_SERVER_NAME"), "`name` that the node's certificate must have, where it is not the address. HOLDFAST_TLS_SERVER_NAME")
}

func (c *clientCerts) given() bool { return c.ca != "" || c.cert != "" || c.key != "" }

// config is nil where nothing was given.
func (c *clientCerts) config() (*tls.Config, error) {
	if !c.given() && c.serverName == "" {
		return nil, nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS13, ServerName: c.serverName}
	switch {
	case (c.cert == "") != (c.key == ""):
		return nil, usage("-client-cert and -client-key belong together: give both")
	case c.cert != "" && c.ca == "":
		return nil, usage("-client-cert needs -ca-file, the cluster's ca.crt")
	case c.cert != "":
		b, err := pki.Load(pki.Paths{CA: c.ca, Cert: c.cert, Key: c.key}, pki.Identity{}, time.Now())
		if err != nil {
			return nil, err
		}
		cfg.RootCAs, cfg.Certificates = b.Pool(), []tls.Certificate{b.Certificate()}
	case c.ca != "":
		cas, err := pki.LoadCAs(c.ca, "", time.Now())
		if err != nil {
			return nil, err
		}
		cfg.RootCAs = x509.NewCertPool()
		for _, ca := range cas {
			cfg.RootCAs.AddCert(ca)
		}
	}
	return cfg, nil
}

// complete makes a configuration of its keys. A cluster that nobody gave an id
// has that of its CA.
func complete(f *config.File) (*config.Config, error) {
	if ca, _, _ := f.CertFiles(); ca != "" && f.Cluster.ID == "" {
		cas, err := pki.LoadCAs(ca, "", time.Now())
		if err != nil {
			return nil, err
		}
		id, err := pki.IdentityOf(cas[0])
		if err != nil {
			return nil, err
		}
		f.Cluster.ID = id.Cluster
	}
	return f.Config()
}

// openCerts opens an engine's certificates, nil where it has none. They must be
// those of the node and the cluster of the configuration.
func openCerts(c *config.Config, log hclog.Logger) (*pki.Certs, error) {
	if c.TLS == nil {
		return nil, nil
	}
	return pki.Open(pki.Paths{CA: c.TLS.CA, Cert: c.TLS.Cert, Key: c.TLS.Key},
		pki.Identity{Cluster: c.Cluster.ID, Role: pki.Node, Name: c.Node},
		pki.Options{AnyClient: c.TLS.AnyClient, Logger: log.Named("tls")})
}
