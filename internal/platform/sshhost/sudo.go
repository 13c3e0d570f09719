// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package sshhost

import (
	"context"
	"errors"
	"fmt"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

// rights are how the user is root on the machine.
type rights struct {
	root bool // else sudo gives them
}

// needsSudo tells how to become root; an error where that is not possible. It
// asks the machine once, and again only after a refusal.
func (h *Host) needsSudo(ctx context.Context, c *connection) (bool, error) {
	h.mu.Lock()
	known := h.mu.rights
	h.mu.Unlock()
	if known != nil {
		return !known.root, nil
	}
	// What sudo is asked for is what it will be asked for: a rule may allow single programs only.
	// The answer is an exit status, as a login shell's start-up files may write something.
	const isRoot, maySudo, noSudo, refused = 0, 2, 3, 4
	_, err := h.run(ctx, c, Command{What: "sudo", Script: `
[ "$(id -u)" = 0 ] && exit 0
command -v sudo >/dev/null 2>&1 || exit 3
sudo -n -- /bin/sh -c : || exit 4
exit 2`}, false)
	code := isRoot
	if exit := (*ExitError)(nil); errors.As(err, &exit) {
		switch code = exit.Code; code {
		case maySudo:
			err = nil
		case noSudo:
			return false, h.noRoot(ErrNoSudo, "Log in as root, or install sudo there and allow it to "+h.cfg.User+" without a password.")
		case refused:
			return false, h.noRoot(fmt.Errorf("%w: %w", ErrSudoRefused, err),
				fmt.Sprintf("Allow it without a password there: echo '%s ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/holdfast; or log in as root.", h.cfg.User))
		}
	}
	if err != nil {
		return false, err
	}
	h.mu.Lock()
	h.mu.rights = &rights{root: code == isRoot}
	h.mu.Unlock()
	return code == maySudo, nil
}

func (h *Host) noRoot(err error, next string) error {
	return &platform.Error{What: h.cfg.User + " cannot become root on " + h.cfg.Address, Err: err, Next: next}
}
