// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package sshhost

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// credentials are the keys that a login shows, and where they are from.
type credentials struct {
	signers []ssh.Signer
	source  string
	agent   net.Conn // nil where no agent signs
}

// close ends the connection to the agent. The signers are of no use afterwards.
func (c *credentials) close() {
	if c.agent != nil {
		_ = c.agent.Close() // it was asked, nothing is lost
	}
}

// load finds the keys. It is called for every login: an agent may have been
// given its keys in the meantime.
func (k Key) load() (*credentials, error) {
	switch env := os.Getenv(EnvironmentKey); {
	case len(k.PEM) > 0:
		return k.parse(k.PEM, "the private key of the configuration")
	case k.File != "":
		file, err := expandHome(k.File)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNoKey, err)
		}
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNoKey, err)
		}
		return k.parse(pem, file)
	case k.AgentSocket != "":
		return askAgent(k.AgentSocket)
	case env != "":
		return k.parse([]byte(env), EnvironmentKey)
	case os.Getenv("SSH_AUTH_SOCK") != "":
		return askAgent(os.Getenv("SSH_AUTH_SOCK"))
	}
	return nil, fmt.Errorf("%w: none is configured, %s is not set, and there is no ssh-agent", ErrNoKey, EnvironmentKey)
}

// Public is the public half of the key, a line of authorized_keys without a comment; of an ssh-agent's keys,
// the first one's. Nothing is asked but the key's file or agent.
func (k Key) Public() (string, error) {
	c, err := k.load()
	if err != nil {
		return "", err
	}
	defer c.close()
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(c.signers[0].PublicKey()))), nil
}

func (k Key) parse(pem []byte, source string) (*credentials, error) {
	signer, err := ssh.ParsePrivateKey(pem)
	if missing := (*ssh.PassphraseMissingError)(nil); errors.As(err, &missing) {
		if k.Passphrase == "" {
			return nil, fmt.Errorf("%w, and none was given: %s", ErrPassphrase, source)
		}
		signer, err = ssh.ParsePrivateKeyWithPassphrase(pem, []byte(k.Passphrase))
		if errors.Is(err, x509.IncorrectPasswordError) {
			return nil, fmt.Errorf("%w, and the one given does not open it: %s", ErrPassphrase, source)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrNoKey, source, err)
	}
	return &credentials{signers: []ssh.Signer{signer}, source: source}, nil
}

func askAgent(socket string) (*credentials, error) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("%w: the ssh-agent does not answer: %w", ErrNoKey, err)
	}
	signers, err := agent.NewClient(conn).Signers()
	if err == nil && len(signers) == 0 {
		err = errors.New("it holds no key")
	}
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("%w: the ssh-agent at %s: %w", ErrNoKey, socket, err)
	}
	return &credentials{signers: signers, source: "the ssh-agent at " + socket, agent: conn}, nil
}
