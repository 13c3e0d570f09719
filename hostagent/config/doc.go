// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package config reads the engine's configuration: HCL or JSON files with the
// keys that users of Consul know, CockroachDB's store and failover flags, and
// the engine.json that the host agent writes from a node spec.
//
// Whatever it came from, a configuration ends as one Config, which carries a
// node spec: there is one set of defaults and one validation, that of package
// agentapi. Errors name the key as the user wrote it.
//
// The package reads files and writes none.
package config
