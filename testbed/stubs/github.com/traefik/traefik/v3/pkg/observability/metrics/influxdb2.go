package metrics

import (
	"context"

	otypes "github.com/traefik/traefik/v3/pkg/observability/types"
)

// RegisterInfluxDB2 returns nil, which the caller takes as "not configured": this build has no InfluxDB client.
func RegisterInfluxDB2(context.Context, *otypes.InfluxDB2) Registry { return nil }

// StopInfluxDB2 does nothing.
func StopInfluxDB2() {}
