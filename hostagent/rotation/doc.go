// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package rotation gives the nodes of a cluster a CA, and replaces CA and certificates
// without a moment at which two nodes do not trust each other.
//
// # The order
//
//	1  a node without CA makes the first one
//	2  every node is given the newest CA and its key; it trusts the older ones, too
//	3  every node's certificate is issued by the newest CA
//	4  every node forgets the older CAs
//	5  where another CA is wanted, one node makes it, and it begins at 2
//
// No step of 3 is taken before 2 is done on all nodes, and none of 4 before 3: done
// means that the node says so and that its engine uses it (agentapi.PKI.Behind). A node
// that does not answer might be anywhere, so that nothing beyond 2 is done without it.
//
// # What it guarantees
//
// Plan decides from what the nodes say and nothing else, and Run asks them before each
// step: a run that was interrupted is gone on with by the next, also from elsewhere.
// The CA's key passes from node to node encrypted to the one that takes it, in memory
// alone.
//
// # What it does not do
//
// A node's first certificate is the agent's matter, which makes it from the node's spec:
// after the specs were sent, Run goes on. Certificates of clients are not known here;
// who has one of a CA that is forgotten needs a new one.
package rotation
