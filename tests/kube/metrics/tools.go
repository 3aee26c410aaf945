//go:build tools

// Package metrics names the program that tells autoscalers what pods use, so that go.mod and go.sum know all that it needs.
package metrics

import (
	_ "sigs.k8s.io/metrics-server/cmd/metrics-server"
)
