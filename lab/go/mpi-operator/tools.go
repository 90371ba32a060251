//go:build tools

// Package tools names the commands that the lab builds, so that `go mod tidy` keeps their requirements.
package tools

import (
	_ "github.com/kubeflow/mpi-operator/cmd/mpi-operator"
)
