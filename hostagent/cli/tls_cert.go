// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/pki"
)

const certHelp = `Makes the certificates that servers prove themselves to each other with, and
clients to servers. They are files in --certs-dir, made for their owner alone.

  $ holdfast cert create-ca --certs-dir=certs
  $ holdfast cert create-node a 10.0.0.1 db1.example.com --certs-dir=certs
  $ holdfast cert create-client root --certs-dir=certs
  $ holdfast start --store=path=/data/1 --certs-dir=certs --listen-addr=10.0.0.1:8300
  $ holdfast kv put k v -ca-file certs/ca.crt -client-cert certs/client.root.crt \
      -client-key certs/client.root.key

A node needs ca.crt, node.crt and node.key, a client ca.crt and its own two files. ca.key,
which signs, stays where certificates are made. It is encrypted to host.key, in the way of
age; keep that on another disk with --host-key.

Where an agent keeps the certificates, they are in /var/lib/holdfast/pki, and what signs is on
every server: there, sudo holdfast cert create-client root --certs-dir=/var/lib/holdfast/pki
makes a client's, to be brought to whoever needs it with ca.crt; holdfast tls rotate replaces
the nodes' certificates and the CA.

By hand, to rotate the CA without a pause: create-ca --overwrite, then bring ca.crt, which has both,
to every node and client; make and bring new certificates with --overwrite; then retire-ca,
and bring ca.crt once more. Running engines take each over by themselves.`

// certFiles are the flags that all commands of cert have.
type certFiles struct {
	dir, caKey, hostKey string
	overwrite           bool
	lifetime            time.Duration
}

func (f *certFiles) define(env *Env, flags *flag.FlagSet) {
	flags.StringVar(&f.dir, "certs-dir", env.Getenv("HOLDFAST_CERTS_DIR"), "`directory` of the certificates. HOLDFAST_CERTS_DIR")
}

func (f *certFiles) defineCA(flags *flag.FlagSet) {
	flags.StringVar(&f.caKey, "ca-key", "", "the CA's key, a `file` (default ca.key in --certs-dir)")
	f.defineHost(flags)
}

func (f *certFiles) defineHost(flags *flag.FlagSet) {
	flags.StringVar(&f.hostKey, "host-key", "", "what the CA's key is encrypted to, a `file` (default host.key beside it)")
}

func (f *certFiles) defineNew(flags *flag.FlagSet, lifetime time.Duration) {
	flags.BoolVar(&f.overwrite, "overwrite", false, "replace what is there")
	flags.DurationVar(&f.lifetime, "lifetime", lifetime, "how `long` it is valid")
}

// open checks the flags and returns the directory.
func (f *certFiles) open() (pki.Dir, error) {
	if f.dir == "" {
		return "", usage("--certs-dir is needed: --certs-dir=certs")
	}
	d := pki.Dir(f.dir)
	if f.caKey == "" {
		f.caKey = d.CAKey()
	}
	if f.hostKey == "" {
		f.hostKey = filepath.Join(filepath.Dir(f.caKey), filepath.Base(d.HostKey()))
	}
	return d, nil
}

// signer opens the directory and its CA.
func (f *certFiles) signer() (pki.Dir, *pki.CA, error) {
	d, err := f.open()
	if err != nil {
		return "", nil, err
	}
	ca, err := pki.OpenCA(d.CA(), f.caKey, f.hostKey, time.Now())
	return d, ca, err
}

// refuseOverwriting keeps what is there, unless it was asked for.
func (f *certFiles) refuseOverwriting(paths ...string) error {
	for _, p := range paths {
		if pki.Exists(p) && !f.overwrite {
			return &agentapi.Error{What: "nothing was made", Why: p + " is there", Next: "Give --overwrite to replace it, or another --certs-dir."}
		}
	}
	return nil
}

var certCreateCACommand = command{
	synopsis: "Make a cluster's CA, or a new one beside the old",
	usage:    "--certs-dir=DIR [options]",
	help: `Makes ca.crt and ca.key. The CA is that of one cluster, whose id it carries: a new one, or
--cluster-id for a cluster that is there (the status of a node says its id).

With --overwrite a new CA is made for the same cluster; ca.crt then has both, and
certificates of either are good until holdfast cert retire-ca.

  $ holdfast cert create-ca --certs-dir=certs
  $ holdfast cert create-ca --certs-dir=certs --ca-key=safe/ca.key --host-key=/etc/holdfast/host.key`,
	make: func(env *Env, flags *flag.FlagSet) func(context.Context, []string) error {
		var f certFiles
		f.define(env, flags)
		f.defineCA(flags)
		f.defineNew(flags, pki.CALifetime)
		cluster := flags.String("cluster-id", "", "`id` of the cluster, a UUID (default a new one)")
		return func(_ context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			d, err := f.open()
			if err != nil {
				return err
			}
			return createCA(env, d, &f, *cluster)
		}
	},
}

func createCA(env *Env, d pki.Dir, f *certFiles, cluster string) error {
	if err := f.refuseOverwriting(d.CA(), f.caKey); err != nil {
		return err
	}
	for _, dir := range []pki.Dir{d, pki.Dir(filepath.Dir(f.caKey)), pki.Dir(filepath.Dir(f.hostKey))} {
		if err := dir.Make(); err != nil {
			return err
		}
	}
	now := time.Now()
	cluster, trusted, err := trustedCAs(d.CA(), cluster, now)
	if err != nil {
		return err
	}
	ca, err := pki.NewCA(cluster, now, f.lifetime)
	if err != nil {
		return usage("%w", err)
	}
	host, err := pki.EnsureHostKey(f.hostKey)
	if err != nil {
		return err
	}
	// The certificate first: a key without its certificate would be lost, a
	// certificate without its key is refused and made anew.
	if err := pki.WriteCerts(d.CA(), append([]*x509.Certificate{ca.Cert}, trusted...)...); err != nil {
		return err
	}
	if err := pki.WriteCAKey(f.caKey, ca, host); err != nil {
		return err
	}
	fmt.Fprintf(env.Stdout, "%s: the CA of cluster %s, valid until %s\n", d.CA(), cluster, date(ca.Cert.NotAfter))
	if len(trusted) > 0 {
		fmt.Fprintf(env.Stderr, "Bring %s to every node and client, then make their certificates anew, then run holdfast cert retire-ca.\n", d.CA())
	}
	return nil
}

// trustedCAs are the CAs that are there and have not expired, and the cluster
// that they, or else the new one, are for.
func trustedCAs(path, cluster string, now time.Time) (string, []*x509.Certificate, error) {
	cas, err := pki.LoadCAs(path, cluster, now)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return cmp.Or(cluster, uuid.NewString()), nil, nil
	case errors.Is(err, pki.ErrExpired):
		all, err := pki.ReadCerts(path)
		if err != nil {
			return "", nil, err
		}
		id, err := pki.IdentityOf(all[0])
		return id.Cluster, nil, err
	case err != nil:
		return "", nil, err
	}
	id, err := pki.IdentityOf(cas[0])
	return id.Cluster, cas, err
}

var certRetireCACommand = command{
	synopsis: "Trust the newest CA alone",
	usage:    "--certs-dir=DIR",
	help: `Takes all CAs but the newest out of ca.crt, once no node and no client has a certificate
of an older one: holdfast cert list, in each directory, says which.

  $ holdfast cert retire-ca --certs-dir=certs`,
	make: func(env *Env, flags *flag.FlagSet) func(context.Context, []string) error {
		var f certFiles
		f.define(env, flags)
		return func(_ context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			d, err := f.open()
			if err != nil {
				return err
			}
			cas, err := pki.LoadCAs(d.CA(), "", time.Now())
			if err != nil {
				return err
			}
			if err := pki.WriteCerts(d.CA(), cas[0]); err != nil {
				return err
			}
			fmt.Fprintf(env.Stdout, "%s: one CA, valid until %s\n", d.CA(), date(cas[0].NotAfter))
			return nil
		}
	},
}

var certCreateNodeCommand = command{
	synopsis: "Make a node's certificate",
	usage:    "NAME [ADDRESS…] --certs-dir=DIR [options]",
	help: `Makes node.crt and node.key for the node of a name, and the IP addresses and DNS names
that clients reach it by. With -csr the key stays on the node: holdfast cert request made
it there, and the certificate is written beside the request.

  $ holdfast cert create-node a 10.0.0.1 db1.example.com --certs-dir=certs
  $ holdfast cert create-node a 10.0.0.1 --certs-dir=certs --csr=from-a/node.csr`,
	make: func(env *Env, flags *flag.FlagSet) func(context.Context, []string) error {
		var f certFiles
		f.define(env, flags)
		f.defineCA(flags)
		f.defineNew(flags, pki.LeafLifetime)
		csr := flags.String("csr", "", "a `request` that the node made")
		return anywhere(flags, func(args []string) error {
			if len(args) == 0 {
				return usage("the node's name is needed: create-node NAME [ADDRESS…]")
			}
			d, ca, err := f.signer()
			if err != nil {
				return err
			}
			to := d.Node()
			if *csr != "" {
				to = pki.Paths{Cert: strings.TrimSuffix(*csr, filepath.Ext(*csr)) + ".crt"}
			}
			return f.sign(env, ca, pki.Identity{Cluster: ca.Cluster, Role: pki.Node, Name: args[0]}, args[1:], to, *csr)
		})
	},
}

var certCreateClientCommand = command{
	synopsis: "Make a client's certificate",
	usage:    "NAME --certs-dir=DIR [options]",
	help: `Makes client.NAME.crt and client.NAME.key. Whoever has them may do everything: there are
no ACLs yet. On a server with an agent, --certs-dir=/var/lib/holdfast/pki makes it with the
cluster's CA; bring ca.crt and the two files to the client, and remove the key here.

  $ holdfast cert create-client root --certs-dir=certs
  $ sudo holdfast cert create-client root --certs-dir=/var/lib/holdfast/pki`,
	make: func(env *Env, flags *flag.FlagSet) func(context.Context, []string) error {
		var f certFiles
		f.define(env, flags)
		f.defineCA(flags)
		f.defineNew(flags, pki.LeafLifetime)
		return anywhere(flags, func(args []string) error {
			if len(args) != 1 {
				return usage("one name is needed: create-client NAME")
			}
			d, ca, err := f.signer()
			if err != nil {
				return err
			}
			return f.sign(env, ca, pki.Identity{Cluster: ca.Cluster, Role: pki.Client, Name: args[0]}, nil, d.Client(args[0]), "")
		})
	},
}

// sign makes a certificate, and a key unless there is a request for another's.
func (f *certFiles) sign(env *Env, ca *pki.CA, id pki.Identity, hosts []string, to pki.Paths, csr string) error {
	if err := f.refuseOverwriting(to.Cert); err != nil {
		return err
	}
	var pub crypto.PublicKey
	var key *ecdsa.PrivateKey // nil where it stays with whoever asked
	if csr != "" {
		der, err := pki.ReadRequest(csr)
		if err == nil {
			pub, err = pki.RequestedKey(der)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", csr, err)
		}
	} else {
		if err := f.refuseOverwriting(to.Key); err != nil {
			return err
		}
		var err error
		if key, err = pki.NewKey(); err != nil {
			return err
		}
		pub = key.Public()
	}
	cert, err := ca.Sign(pub, id, hosts, time.Now(), f.lifetime)
	if err != nil {
		return usage("%w", err)
	}
	if key != nil {
		if err := pki.WriteKey(to.Key, key); err != nil {
			return err
		}
	}
	if err := pki.WriteCerts(to.Cert, cert); err != nil {
		return err
	}
	fmt.Fprintf(env.Stdout, "%s: %s %s, valid until %s\n", to.Cert, id.Role, id.Name, date(cert.NotAfter))
	return nil
}

var certRequestCommand = command{
	synopsis: "Make a node's key, and ask for its certificate",
	usage:    "--certs-dir=DIR",
	help: `Makes node.key, which stays here, and node.csr. Bring the request to where the CA's key
is, run holdfast cert create-node --csr there, and bring node.crt and ca.crt back.

  $ holdfast cert request --certs-dir=certs`,
	make: func(env *Env, flags *flag.FlagSet) func(context.Context, []string) error {
		var f certFiles
		f.define(env, flags)
		flags.BoolVar(&f.overwrite, "overwrite", false, "replace what is there")
		return func(_ context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			d, err := f.open()
			if err != nil {
				return err
			}
			if err := f.refuseOverwriting(d.Node().Key); err != nil {
				return err
			}
			if err := d.Make(); err != nil {
				return err
			}
			key, err := pki.NewKey()
			if err != nil {
				return err
			}
			der, err := pki.NewRequest(key)
			if err != nil {
				return err
			}
			if err := pki.WriteKey(d.Node().Key, key); err != nil {
				return err
			}
			if err := pki.WriteRequest(d.Request(), der); err != nil {
				return err
			}
			fmt.Fprintf(env.Stdout, "%s: to be signed where the CA's key is, with holdfast cert create-node --csr\n", d.Request())
			return nil
		}
	},
}

var certHostKeyCommand = command{
	synopsis: "Show this host's public key",
	usage:    "--certs-dir=DIR [options]",
	help: `Prints the public key that a server which has the CA's key encrypts it to, and makes
host.key where there is none.

  $ holdfast cert host-key --certs-dir=certs`,
	make: func(env *Env, flags *flag.FlagSet) func(context.Context, []string) error {
		var f certFiles
		f.define(env, flags)
		f.defineHost(flags)
		return func(_ context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			if _, err := f.open(); err != nil {
				return err
			}
			if err := pki.Dir(filepath.Dir(f.hostKey)).Make(); err != nil {
				return err
			}
			k, err := pki.EnsureHostKey(f.hostKey)
			if err == nil {
				fmt.Fprintln(env.Stdout, k.Public())
			}
			return err
		}
	},
}

var certExportCAKeyCommand = command{
	synopsis: "Encrypt the CA's key for another server",
	usage:    "--certs-dir=DIR -to age1… [options]",
	help: `Prints the CA's key, encrypted so that only the host whose public key is given can read
it: holdfast cert host-key prints it there, and import-ca-key takes what this prints.

  $ holdfast cert export-ca-key --certs-dir=certs --to=age1… > for-b`,
	make: func(env *Env, flags *flag.FlagSet) func(context.Context, []string) error {
		var f certFiles
		f.define(env, flags)
		f.defineCA(flags)
		to := flags.String("to", "", "public `key` of the host")
		return func(_ context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			if *to == "" {
				return usage("-to is needed: the public key of the host that is to have the key")
			}
			_, ca, err := f.signer()
			if err != nil {
				return err
			}
			b, err := ca.Export(*to)
			if err != nil {
				return usage("%w", err)
			}
			_, err = env.Stdout.Write(b)
			return err
		}
	},
}

var certImportCAKeyCommand = command{
	synopsis: "Take the CA's key from another server",
	usage:    "--certs-dir=DIR [options] < FILE",
	help: `Reads on standard input what holdfast cert export-ca-key printed for this host, and keeps
it as ca.key. ca.crt has to be here already.

  $ holdfast cert import-ca-key --certs-dir=certs < for-b`,
	make: func(env *Env, flags *flag.FlagSet) func(context.Context, []string) error {
		var f certFiles
		f.define(env, flags)
		f.defineCA(flags)
		flags.BoolVar(&f.overwrite, "overwrite", false, "replace what is there")
		return func(_ context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			d, err := f.open()
			if err != nil {
				return err
			}
			if err := f.refuseOverwriting(f.caKey); err != nil {
				return err
			}
			host, err := pki.OpenHostKey(f.hostKey)
			if err != nil {
				return err
			}
			ca, err := host.Import(env.Stdin, d.CA(), time.Now())
			if err != nil {
				return err
			}
			if err := pki.WriteCAKey(f.caKey, ca, host); err != nil {
				return err
			}
			fmt.Fprintf(env.Stdout, "%s: the key of the CA of cluster %s\n", f.caKey, ca.Cluster)
			return nil
		}
	},
}

// anywhere lets flags stand behind arguments too, as CockroachDB's do.
func anywhere(flags *flag.FlagSet, run func(args []string) error) func(context.Context, []string) error {
	return func(_ context.Context, args []string) error {
		var words []string
		for len(args) > 0 {
			if !strings.HasPrefix(args[0], "-") {
				words, args = append(words, args[0]), args[1:]
				continue
			}
			if err := flags.Parse(args); err != nil {
				return usage("%w", err)
			}
			args = flags.Args()
		}
		return run(words)
	}
}

func date(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }
