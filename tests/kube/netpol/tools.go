//go:build tools

// Package netpol names the program that makes a node keep to network policies, so that go.mod and go.sum know all that it needs.
package netpol

import (
	_ "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router"
)
