package metrics

import (
	"context"

	otypes "github.com/traefik/traefik/v3/pkg/observability/types"
)

// RegisterStatsd returns a registry that records nothing: this build has no StatsD client.
func RegisterStatsd(context.Context, *otypes.Statsd) Registry { return NewVoidRegistry() }

// StopStatsd does nothing.
func StopStatsd() {}
