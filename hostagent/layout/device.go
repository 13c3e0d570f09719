// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package layout

import (
	"cmp"
	"fmt"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

// Shared is a store whose log would fail over to its own device, which hangs as
// a whole.
type Shared struct{ Store, Side, Device string }

func (s Shared) String() string {
	return fmt.Sprintf("the store %s and the directory %s that its log fails over to are both on device %s: when it hangs, both hang", s.Store, s.Side, s.Device)
}

// SharedDevices lists the stores of a spec that share a device with their side.
// device tells the name and the number of the device that a path lies on; where
// the number is empty nothing is known and nothing said.
func SharedDevices(spec *agentapi.Spec, device func(path string) (name, number string)) []Shared {
	var all []Shared
	for i, st := range spec.Stores {
		side := spec.SideOf(i)
		if side == "" {
			continue
		}
		name, number := device(st.Path)
		if _, other := device(side); number != "" && number == other {
			all = append(all, Shared{Store: st.Path, Side: side, Device: cmp.Or(name, number)})
		}
	}
	return all
}
