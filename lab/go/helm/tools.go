//go:build tools

// Package tools names the commands that the lab builds, so that `go mod tidy` keeps their requirements. Libraries that flannel uses too are
// required at the versions of lab/go/flannel, so that the compiler's cache serves both.
package tools

import (
	_ "github.com/databus23/helm-diff/v3"
	_ "helm.sh/helm/v3/cmd/helm"
)
