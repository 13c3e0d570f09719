// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cli

import "runtime/debug"

// engineGCPercent trades memory for throughput: an engine's live heap is its
// keys, and every write makes garbage of some kilobytes beside them.
const engineGCPercent = 300

// tuneMemory sets the garbage collector's pace unless somebody did.
func tuneMemory(env *Env) {
	if env.Getenv("GOGC") == "" && env.Getenv("GOMEMLIMIT") == "" {
		debug.SetGCPercent(engineGCPercent)
	}
}
