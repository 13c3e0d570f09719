// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package local

// Config says where a cluster lives.
type Config struct {
	// Directory holds all of the cluster. It is made where it is missing; one
	// that holds something else is refused.
	Directory string
	// Root asks for loop devices (true) or plain directories (false). Nil is
	// loop devices where this process may make and mount them.
	Root *bool
	// Network is x of the nodes' addresses 127.0.x.y. 0 chooses one whose
	// ports are free. What a cluster has once is kept.
	Network int
}
