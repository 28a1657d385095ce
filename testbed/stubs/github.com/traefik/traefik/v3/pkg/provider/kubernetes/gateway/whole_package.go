// Package gateway replaces Traefik's provider of that name. This build does not contain it.
package gateway

import (
	"errors"

	"github.com/traefik/traefik/v3/pkg/config/dynamic"
	"github.com/traefik/traefik/v3/pkg/safe"
)

var errLeftOut = errors.New("this build of traefik does not contain the provider gateway")

// Provider refuses to start.
type Provider struct {
	EntryPoints map[string]Entrypoint
}

// Init reports that the provider is not in this build.
func (*Provider) Init() error { return errLeftOut }

// Provide reports that the provider is not in this build.
func (*Provider) Provide(chan<- dynamic.Message, *safe.Pool) error { return errLeftOut }

// Entrypoint has the fields that the static configuration fills in.
type Entrypoint struct {
	Address        string
	HasHTTPTLSConf bool
}
