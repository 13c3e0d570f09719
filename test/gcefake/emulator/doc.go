// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package emulator is a server that speaks the part of Compute Engine's REST
// API (v1) that the provider needs, for tests and for trying the provider
// without an account.
//
// A request passes four stages, and every stage may refuse it:
//
//   - the injected faults that end a connection or answer with an error;
//   - Google's discovery document (package discovery): names, types, enums,
//     parameters. A violation is answered with 400, and stays in the log of
//     calls for the test to find;
//   - decoding into the messages of cloud.google.com/go/compute, unknown fields
//     forbidden;
//   - rules written by hand for what the document does not say. The README names
//     each with its source.
//
// What the server answers is held to the document as well: an answer that does
// not fit it is a bug of this package, and is answered with 500.
//
// A mutation returns an operation. It is PENDING, RUNNING, DONE; half of
// Config.Delay lies between two. The resource is there from the beginning, in
// the status that Compute Engine gives it meanwhile (CREATING, PROVISIONING,
// STOPPING, DELETING), refuses other operations, and disappears again when a
// creation fails.
//
// Behind an instance stands what Config.Machines makes of it: nothing, unless a
// caller says otherwise.
//
// All state is in memory, in one project. Close ends what the server has begun.
package emulator
