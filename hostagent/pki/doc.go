// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package pki makes and keeps the certificates of a cluster: its authority
// (CA), one certificate per node and one per client, and turns them into
// configurations of TLS that follow the files without a restart.
//
// # Who is who
//
// Every certificate has one URI, which says whom it speaks for:
//
//	holdfast://<cluster id>/ca
//	holdfast://<cluster id>/node/<name>
//	holdfast://<cluster id>/client/<name>
//
// Whoever presents a certificate is taken for that and nothing else, and only
// where one of the cluster's CAs signed it. A CA of another cluster is refused
// when it is read, so it cannot be trusted by mistake. Names and addresses
// beside the URI are for clients that know a server by its address.
//
// # On disk
//
// A directory of mode 0700 with files of mode 0600, named as CockroachDB does.
// Each is replaced whole and durably:
//
//	ca.crt              the CAs that are trusted, the newest first; two while the CA is rotated
//	ca.key              the newest CA's key, encrypted with age (filippo.io/age) to host.key
//	host.key            this host's own key, an age identity; it never leaves the host
//	node.crt, node.key  this node's certificate and its key
//	client.NAME.crt, client.NAME.key
//	pki.json             where an agent keeps the directory: whose it is, and a CA that is
//	                     on its way in; see Keyring
//
// ca.key and host.key are needed where certificates are signed, and nowhere
// else. With host.key in the same directory the encryption guards copies of
// ca.key alone; a host key on another disk guards the disk.
//
// A certificate and its key are two files, so a crash between them leaves a
// pair that does not fit. That is refused when it is loaded, and a process
// that runs goes on with the pair it had.
//
// # What it guarantees
//
// Nothing is loaded that would not work or that others could read or replace:
// a Refusal names the file, the field, what it is, what it must be, and what to
// do. Keys are ECDSA P-256, TLS is 1.3, sessions are not resumed: a connection
// is as fresh as the files. Connections that are open go on when certificates
// change.
//
// # What it does not do
//
// There are no revocation lists: a certificate ends with its lifetime, or with
// the CA that signed it. Nothing is sent anywhere: another server's certificate
// or the wrapped key travels by the hand of whoever asked for it, a person or package
// rotation.
package pki
