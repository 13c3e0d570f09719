// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package observe asks the nodes of a cluster what they are: every agent in
// parallel, and the engines' API for what the whole cluster shares. It changes
// nothing, keeps nothing, and knows nothing of Terraform. A node that does not
// answer in time is an observation, not an error.
package observe
