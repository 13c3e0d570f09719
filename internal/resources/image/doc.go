// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package image is the resource holdfast_image: an image of Compute Engine with agent,
// engine and whatever steps put there, which holdfast_cluster takes for its machines.
//
// What decides the image's content decides its name: a plan that changes the one shows
// the other, and an image that is there by that name is the one that is wanted. The rest
// (where it is baked, its family and labels) changes nothing in it, and no plan replaces
// an image for it.
package image
