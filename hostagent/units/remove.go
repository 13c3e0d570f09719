// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package units

// Nothing is the set of a host that is no node any more: what MakePlan comes to for it
// disables our units and deletes our files, whichever set they are of. The agent's own
// unit is among them only where agent says so, for who has to do the rest before.
func Nothing(agent bool) Set {
	set := Set{User: DefaultUser, optional: []string{
		sysusersPath, tmpfilesPath, sysctlPath, journaldPath, logrotatePath, DefaultLogConfig, unitDir + EngineUnit, previousPath,
	}}
	if agent {
		set.optional = append(set.optional, unitDir+AgentUnit)
	}
	return set
}
