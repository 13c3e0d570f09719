// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"crypto/x509"
	"flag"
	"fmt"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/pki"
)

var certListCommand = command{
	synopsis: "Show the certificates of a directory",
	usage:    "--certs-dir=DIR [options]",
	help: `Shows every *.crt: whose it is, which CA signed it (the number of a row of ca.crt), how
long it is valid, and what would keep it from being used.

  $ holdfast cert list --certs-dir=certs
  $ holdfast cert list --certs-dir=certs -json`,
	make: func(env *Env, flags *flag.FlagSet) func(context.Context, []string) error {
		var f certFiles
		f.define(env, flags)
		asJSON := flags.Bool("json", false, "print JSON")
		return func(_ context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			d, err := f.open()
			if err != nil {
				return err
			}
			list, err := listCerts(d, time.Now())
			if err != nil {
				return err
			}
			if *asJSON {
				return printJSON(env.Stdout, list)
			}
			w := tabwriter.NewWriter(env.Stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "FILE\tROLE\tNAME\tCA\tADDRESSES\tVALID UNTIL\tPROBLEM")
			for _, c := range list {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", c.File, c.Role, orDash(c.Name), orDash(c.CA),
					orDash(strings.Join(c.Addresses, ",")), date(c.NotAfter), orDash(c.Problem))
			}
			return w.Flush()
		}
	},
}

// listedCert is one certificate as -json prints it.
type listedCert struct {
	File      string    `json:"file"`
	Role      string    `json:"role"`
	Name      string    `json:"name,omitempty"`
	Cluster   string    `json:"cluster_id"`
	CA        string    `json:"ca,omitempty"` // of those in ca.crt
	Addresses []string  `json:"addresses,omitempty"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	Problem   string    `json:"problem,omitempty"`
}

func listCerts(d pki.Dir, now time.Time) ([]listedCert, error) {
	cas, err := pki.ReadCerts(d.CA())
	if err != nil {
		return nil, err
	}
	var list []listedCert
	for i, ca := range cas {
		c := describeCert(fmt.Sprintf("ca.crt #%d", i+1), ca)
		if now.After(ca.NotAfter) {
			c.Problem = "expired"
		}
		list = append(list, c)
	}
	files, err := filepath.Glob(filepath.Join(string(d), "*.crt")) // sorted
	if err != nil {
		return nil, err
	}
	for _, path := range files {
		if path == d.CA() {
			continue
		}
		certs, err := pki.ReadCerts(path)
		if err != nil {
			return nil, err
		}
		c := describeCert(filepath.Base(path), certs[0])
		for i, ca := range cas {
			if certs[0].CheckSignatureFrom(ca) == nil {
				c.CA = fmt.Sprintf("#%d", i+1)
			}
		}
		key := strings.TrimSuffix(path, ".crt") + ".key"
		if _, err := pki.Load(pki.Paths{CA: d.CA(), Cert: path, Key: key}, pki.Identity{}, now); err != nil {
			c.Problem = err.Error()
		}
		list = append(list, c)
	}
	return list, nil
}

func describeCert(file string, cert *x509.Certificate) listedCert {
	c := listedCert{File: file, Role: "?", NotBefore: cert.NotBefore, NotAfter: cert.NotAfter}
	id, err := pki.IdentityOf(cert)
	if err != nil {
		c.Problem = err.Error()
	} else {
		c.Role, c.Name, c.Cluster = string(id.Role), id.Name, id.Cluster
	}
	for _, ip := range cert.IPAddresses {
		c.Addresses = append(c.Addresses, ip.String())
	}
	c.Addresses = append(c.Addresses, cert.DNSNames...)
	return c
}
