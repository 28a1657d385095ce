// Package fast replaces Traefik's experimental FastProxy. This build does not contain it.
package fast

import (
	"crypto/tls"
	"errors"
	"net/http"
	"net/url"

	"github.com/traefik/traefik/v3/pkg/config/dynamic"
	"github.com/traefik/traefik/v3/pkg/config/static"
)

// TransportManager is what the caller hands over.
type TransportManager interface {
	Get(name string) (*dynamic.ServersTransport, error)
	GetTLSConfig(name string) (*tls.Config, error)
}

// ProxyBuilder builds no proxy.
type ProxyBuilder struct{}

// NewProxyBuilder returns a builder that refuses to build.
func NewProxyBuilder(TransportManager, static.FastProxyConfig) *ProxyBuilder { return &ProxyBuilder{} }

// Update ignores the configuration.
func (*ProxyBuilder) Update(map[string]*dynamic.ServersTransport) {}

// Build reports that FastProxy is not in this build.
func (*ProxyBuilder) Build(string, *url.URL, bool, bool) (http.Handler, error) {
	return nil, errors.New("this build of traefik does not contain FastProxy")
}
