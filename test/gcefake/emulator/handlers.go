// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package emulator

// handler carries out a request of one method, with the server's lock.
type handler func(*Server, *request) (answer, error)

// handlers are the methods that are emulated. Any other one of the document is
// answered with 501.
var handlers map[string]handler

// The table refers to functions that refer, by way of the server, to the table.
func init() {
	handlers = map[string]handler{
		"compute.projects.get": getProject,
		"compute.zones.get":    getZone, "compute.zones.list": listZones,
		"compute.regions.get": getRegion, "compute.regions.list": listRegions,
		"compute.machineTypes.get": getMachineType, "compute.machineTypes.list": listMachineTypes,
		"compute.diskTypes.get": getDiskType, "compute.diskTypes.list": listDiskTypes,

		"compute.zoneOperations.get": getOperation, "compute.zoneOperations.wait": getOperation, "compute.zoneOperations.list": listOperations,
		"compute.regionOperations.get": getOperation, "compute.regionOperations.wait": getOperation, "compute.regionOperations.list": listOperations,
		"compute.globalOperations.get": getOperation, "compute.globalOperations.wait": getOperation, "compute.globalOperations.list": listOperations,

		"compute.networks.insert": insertNetwork, "compute.networks.get": getNetwork, "compute.networks.list": listNetworks, "compute.networks.delete": deleteNetwork,
		"compute.subnetworks.insert": insertSubnetwork, "compute.subnetworks.get": getSubnetwork, "compute.subnetworks.list": listSubnetworks,
		"compute.subnetworks.aggregatedList": aggregatedSubnetworks, "compute.subnetworks.delete": deleteSubnetwork,
		"compute.firewalls.insert": insertFirewall, "compute.firewalls.get": getFirewall, "compute.firewalls.list": listFirewalls,
		"compute.firewalls.patch": patchFirewall, "compute.firewalls.delete": deleteFirewall,

		"compute.images.insert": insertImage, "compute.images.get": getImage, "compute.images.getFromFamily": getImageFromFamily,
		"compute.images.list": listImages, "compute.images.delete": deleteImage,
		"compute.images.patch": patchImage, "compute.images.setLabels": setImageLabels,

		"compute.disks.insert": insertDisk, "compute.disks.get": getDisk, "compute.disks.list": listDisks, "compute.disks.aggregatedList": aggregatedDisks,
		"compute.disks.delete": deleteDisk, "compute.disks.resize": resizeDisk, "compute.disks.update": updateDisk, "compute.disks.setLabels": setDiskLabels,

		"compute.instances.insert": insertInstance, "compute.instances.get": getInstance, "compute.instances.list": listInstances,
		"compute.instances.aggregatedList": aggregatedInstances, "compute.instances.delete": deleteInstance,
		"compute.instances.start": startInstance, "compute.instances.stop": stopInstance, "compute.instances.reset": resetInstance,
		"compute.instances.suspend": suspendInstance, "compute.instances.resume": resumeInstance,
		"compute.instances.attachDisk": attachDisk, "compute.instances.detachDisk": detachDisk,
		"compute.instances.setMachineType": setMachineType, "compute.instances.setLabels": setInstanceLabels,
		"compute.instances.setMetadata": setInstanceMetadata, "compute.instances.setTags": setInstanceTags,
		"compute.instances.setDeletionProtection": setDeletionProtection, "compute.instances.setScheduling": setScheduling,
		"compute.instances.setDiskAutoDelete": setDiskAutoDelete, "compute.instances.setServiceAccount": setServiceAccount,
		"compute.instances.getSerialPortOutput": getSerialPortOutput, "compute.instances.getGuestAttributes": getGuestAttributes,
	}
}
