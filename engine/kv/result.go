// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package kv

import (
	"encoding/binary"
	"fmt"
)

// ResultCode classes a command's outcome. The values cross the wire and are
// in snapshots: never renumber one.
type ResultCode byte

const (
	// CodeOK: the command was applied. OK says whether its condition held.
	CodeOK ResultCode = 0
	// CodeUnknownSetting: a setting that this version does not know.
	CodeUnknownSetting ResultCode = 1
	// CodeBadValue: a setting's value does not parse or is out of bounds.
	CodeBadValue ResultCode = 2
	// CodeExpired: a retry that came after its result was forgotten. It is
	// not applied now; whether it was the first time is not known.
	CodeExpired ResultCode = 3
)

// Result is the outcome of one command.
type Result struct {
	// Index is the partition's index after the command: the ModifyIndex of
	// what it wrote.
	Index uint64
	// OK is false where a condition did not hold (OpCAS, OpDeleteCAS) or the
	// command was refused.
	OK   bool
	Code ResultCode
	// Message says to a person what was refused, why, and what to do.
	Message string
}

// AppendResult appends the result's encoding:
//
//	uv index │ 1 ok │ 1 code │ str message
func AppendResult(dst []byte, r *Result) []byte {
	dst = binary.AppendUvarint(dst, r.Index)
	dst = appendBool(dst, r.OK)
	dst = append(dst, byte(r.Code))
	return appendString(dst, r.Message)
}

// DecodeResult decodes the first result of b and returns what follows it.
func DecodeResult(b []byte) (Result, []byte, error) {
	r := reader{b: b}
	res := Result{Index: r.uvarint(), OK: r.bool(), Code: ResultCode(r.byte()), Message: string(r.bytes())}
	if r.failed {
		return Result{}, nil, fmt.Errorf("%w: a result does not parse", ErrCorrupt)
	}
	return res, r.b, nil
}
