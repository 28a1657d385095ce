// Package tailscale replaces Traefik's provider of that name. This build does not contain it.
package tailscale

import (
	"errors"

	"github.com/traefik/traefik/v3/pkg/config/dynamic"
	"github.com/traefik/traefik/v3/pkg/safe"
)

var errLeftOut = errors.New("this build of traefik does not contain the provider tailscale")

// Provider refuses to start.
type Provider struct {
	ResolverName string
}

// Init reports that the provider is not in this build.
func (*Provider) Init() error { return errLeftOut }

// Provide reports that the provider is not in this build.
func (*Provider) Provide(chan<- dynamic.Message, *safe.Pool) error { return errLeftOut }

// HandleConfigUpdate ignores the configuration.
func (*Provider) HandleConfigUpdate(dynamic.Configuration) {}
