// Package plugins replaces Traefik's plugins, which need a Go interpreter and a WebAssembly runtime. This build
// contains neither.
package plugins

import (
	"context"
	"errors"
	"net/http"

	"github.com/traefik/traefik/v3/pkg/provider"
)

var errLeftOut = errors.New("this build of traefik does not contain plugins")

// Constructor wraps a handler in a plugin.
type Constructor func(context.Context, http.Handler) (http.Handler, error)

// Descriptor has the fields that the static configuration reads.
type Descriptor struct {
	ModuleName string
	Version    string
}

// LocalDescriptor has the field that the static configuration reads.
type LocalDescriptor struct {
	ModuleName string
}

// RegistryDownloaderOptions is what the caller fills in.
type RegistryDownloaderOptions struct {
	HTTPClient   *http.Client
	ArchivesPath string
}

// RegistryDownloader downloads nothing.
type RegistryDownloader struct{}

// NewRegistryDownloader refuses.
func NewRegistryDownloader(RegistryDownloaderOptions) (*RegistryDownloader, error) {
	return nil, errLeftOut
}

// ManagerOptions is what the caller fills in.
type ManagerOptions struct {
	Output string
}

// Manager manages nothing.
type Manager struct{}

// NewManager refuses.
func NewManager(*RegistryDownloader, ManagerOptions) (*Manager, error) { return nil, errLeftOut }

// SetupRemotePlugins refuses.
func SetupRemotePlugins(*Manager, map[string]Descriptor) error { return errLeftOut }

// SetupLocalPlugins refuses.
func SetupLocalPlugins(map[string]LocalDescriptor) error { return errLeftOut }

// Builder builds no plugin.
type Builder struct{}

// NewBuilder returns a builder if no plugin is configured, and refuses otherwise.
func NewBuilder(_ *Manager, remote map[string]Descriptor, local map[string]LocalDescriptor) (*Builder, error) {
	if len(remote)+len(local) > 0 {
		return nil, errLeftOut
	}
	return &Builder{}, nil
}

// Build refuses.
func (*Builder) Build(string, map[string]any, string) (Constructor, error) { return nil, errLeftOut }

// BuildProvider refuses.
func (*Builder) BuildProvider(string, map[string]any) (provider.Provider, error) {
	return nil, errLeftOut
}
