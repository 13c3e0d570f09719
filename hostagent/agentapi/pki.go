// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package agentapi

import "time"

// PKI is what a node holds of the cluster's certificates; nothing in it is secret.
type PKI struct {
	Cluster Cluster `json:"cluster"` // whose certificates these are; empty where there are none
	Node    string  `json:"node"`
	// Recipient is the node's own public key (age): what is sealed to it, this node
	// alone can open.
	Recipient string `json:"recipient"`
	// CAs are those that the node trusts, the newest first; two while a CA is replaced.
	CAs []Certificate `json:"cas"`
	// CAKey says that the node has the key of the newest CA, and can sign.
	CAKey bool `json:"ca_key"`
	// CARotation is the word that the newest CA was asked for with.
	CARotation string `json:"ca_rotation,omitempty"`
	// Certificate is the node's own, nil before there is one, and Rotation the word
	// that it was asked for with.
	Certificate *Certificate `json:"certificate,omitempty"`
	Rotation    string       `json:"rotation,omitempty"`
	// Behind says, in words, what of these the engine that runs does not use yet. Nobody
	// may count on what a node is behind with. Empty where nothing is, and in a Status,
	// which does not ask.
	Behind string `json:"behind,omitempty"`
}

// Certificate is one certificate.
type Certificate struct {
	// Fingerprint is SHA-256 of the whole certificate, in hexadecimal digits.
	Fingerprint string `json:"fingerprint"`
	// Issuer is the fingerprint of the CA that signed it, its own where it signed itself,
	// empty where that is none of those that the node trusts.
	Issuer    string    `json:"issuer"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	Hosts     []string  `json:"hosts,omitempty"`
}

// NewCA is the body of POST /v1/pki/ca. A node without a CA makes the cluster's first.
// One whose newest CA has another rotation makes the next one, and from then on trusts
// both; certificates stay until they are issued anew. Where it has this rotation
// already, nothing happens. A node with a CA but without its key refuses.
type NewCA struct {
	Cluster  Cluster `json:"cluster"`
	Node     string  `json:"node"`
	Rotation string  `json:"rotation"`
}

// PKIBundle is what makes another node of the cluster one that signs, too. It is
// readable for the recipients alone.
type PKIBundle struct {
	Cluster  Cluster `json:"cluster"`
	Node     string  `json:"node,omitempty"` // to whom it goes; set by whoever hands it over
	Rotation string  `json:"rotation,omitempty"`
	CAs      []byte  `json:"cas"` // PEM, the newest first
	// Sealed are the secrets by their name, each encrypted (age) to the recipients:
	// ca_key is the newest CA's; a gossip key has its place beside it.
	Sealed map[string][]byte `json:"sealed"`
}

// SealedCAKey is the newest CA's key among PKIBundle.Sealed.
const SealedCAKey = "ca_key"

// Recipients is the body of POST /v1/pki/export.
type Recipients struct {
	Recipients []string `json:"recipients"`
}
