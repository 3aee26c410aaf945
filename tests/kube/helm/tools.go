//go:build tools

// Package helm names the program, so that go.mod and go.sum know all that it needs.
package helm

import _ "helm.sh/helm/v3/cmd/helm"
