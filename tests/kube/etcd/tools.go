//go:build tools

// Package etcd names the program, so that go.mod and go.sum know all that it needs.
package etcd

import _ "go.etcd.io/etcd/server/v3"
