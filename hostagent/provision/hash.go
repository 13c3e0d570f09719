// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package provision

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Key is what secrets are hashed with on one host.
type Key [32]byte

// encodingVersion begins every hash. A change of attributes or their encoding is a
// new version, and every step of every host runs again: testdata/hashes pins it.
const encodingVersion = "1"

// hmacPrefix begins the attribute that stands for a secret; unknownSum, which is no
// sum of any, follows where the secret is not known.
const (
	hmacPrefix = "hmac-sha256:"
	unknownSum = "unknown"
)

// maxShown is the longest value that a record and a plan show as it is.
const maxShown = 80

// attributes lists what changes the effect of a step, by name, as records keep and
// plans show it. Timeouts, retries, pauses, the nodes and Then are not among them:
// they say when and how often, not what. A secret that is not known is taken to be
// the one of what was done before, where that had one.
func (s *Step) attributes(key Key, before map[string]string) map[string]string {
	a := map[string]string{}
	put := func(name, value string) { // what is left out is not listed, so that new attributes change no hash
		if value != "" {
			a[name] = shown(value)
		}
	}
	vars := func(prefix string, values map[string]Value) {
		for name, v := range values {
			switch was := before[prefix+name]; {
			case v.unknown != "" && strings.HasPrefix(was, hmacPrefix):
				a[prefix+name] = was
			case v.unknown != "":
				a[prefix+name] = hmacPrefix + unknownSum
			case v.secret:
				a[prefix+name] = hmacPrefix + key.sum(s.Name, prefix+name, v.text)
			default:
				a[prefix+name] = shown(v.text)
			}
		}
	}
	if f := s.File; f != nil {
		a["kind"] = "file"
		put("path", f.Path)
		if f.Template != "" {
			a["template"] = digest(f.Template)
		} else {
			a["content"] = digest(f.Content)
		}
		vars("vars.", f.Vars)
		put("owner", f.Owner)
		put("group", f.Group)
		put("mode", fmt.Sprintf("%04o", f.mode()))
	}
	if sh := s.Shell; sh != nil {
		a["kind"] = "shell"
		a["script"] = digest(sh.text())
		vars("env.", sh.Env)
		put("user", sh.User)
		put("dir", sh.Dir)
		codes := make([]string, 0, 1)
		for _, c := range sh.validExitCodes() {
			codes = append(codes, strconv.Itoa(c))
		}
		put("valid_exit_codes", strings.Join(codes, ","))
	}
	return a
}

// hash is the hash of a step with these attributes, "1:" and 64 hexadecimal digits.
func hash(attributes map[string]string) string {
	h := sha256.New()
	_, _ = h.Write(canonical(attributes)) // never fails
	return encodingVersion + ":" + hex.EncodeToString(h.Sum(nil))
}

// canonical is what is hashed: a line with the version, then each name and value in
// the order of the names, as netstrings, so that no two lists encode alike.
//
//	holdfast step 1\n
//	4:kind,4:file,7:content,71:sha256:…, …
func canonical(attributes map[string]string) []byte {
	b := []byte("holdfast step " + encodingVersion + "\n")
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		for _, s := range []string{name, attributes[name]} {
			b = strconv.AppendInt(b, int64(len(s)), 10)
			b = append(b, ':')
			b = append(b, s...)
			b = append(b, ',')
		}
	}
	return b
}

// shown is a value as it may be shown: long ones and those of several lines as a digest.
// One that reads as a digest is digested too: a text never passes for another's digest.
func shown(value string) string {
	odd := func(r rune) bool { return !unicode.IsPrint(r) }
	if len(value) > maxShown || !utf8.ValidString(value) || strings.ContainsFunc(value, odd) ||
		strings.HasPrefix(value, "sha256:") || strings.HasPrefix(value, hmacPrefix) {
		return digest(value)
	}
	return value
}

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// sum binds a text to its place, so that equal secrets do not show as equal.
func (k Key) sum(place ...string) string {
	m := hmac.New(sha256.New, k[:])
	for _, s := range place {
		fmt.Fprintf(m, "%d:%s,", len(s), s)
	}
	return hex.EncodeToString(m.Sum(nil))
}
