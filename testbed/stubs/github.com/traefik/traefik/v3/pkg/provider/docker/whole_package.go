// Package docker replaces Traefik's provider of that name. This build does not contain it.
package docker

import (
	"errors"

	ptypes "github.com/traefik/paerser/types"
	"github.com/traefik/traefik/v3/pkg/config/dynamic"
	"github.com/traefik/traefik/v3/pkg/safe"
)

var errLeftOut = errors.New("this build of traefik does not contain the provider docker")

// Provider refuses to start.
type Provider struct {
	HTTPClientTimeout ptypes.Duration
}

// Init reports that the provider is not in this build.
func (*Provider) Init() error { return errLeftOut }

// Provide reports that the provider is not in this build.
func (*Provider) Provide(chan<- dynamic.Message, *safe.Pool) error { return errLeftOut }

// SwarmProvider refuses to start.
type SwarmProvider struct {
	HTTPClientTimeout ptypes.Duration
	RefreshSeconds    ptypes.Duration
}

// Init reports that the provider is not in this build.
func (*SwarmProvider) Init() error { return errLeftOut }

// Provide reports that the provider is not in this build.
func (*SwarmProvider) Provide(chan<- dynamic.Message, *safe.Pool) error { return errLeftOut }
