// Package azure replaces vcluster's snapshots on Azure, which need the Azure SDK. This build does not contain it.
package azure

import (
	"context"
	"errors"
	"io"

	"github.com/go-logr/logr"
	snapshotapi "github.com/loft-sh/api/v4/pkg/snapshot"
)

var errLeftOut = errors.New("this build of vcluster cannot store snapshots on Azure")

// IsAzureFlagNotSetError is false: this build reads no Azure flags.
func IsAzureFlagNotSetError(error) bool { return false }

// FillCredentials refuses.
func FillCredentials(context.Context, *snapshotapi.AzureOptions, bool) error { return errLeftOut }

// ObjectStore stores nothing.
type ObjectStore struct{}

// NewStore refuses.
func NewStore(context.Context, *snapshotapi.AzureOptions, logr.Logger) (*ObjectStore, error) {
	return nil, errLeftOut
}

// Target names the store in messages.
func (*ObjectStore) Target() string { return "azure" }

// PutObject refuses.
func (*ObjectStore) PutObject(context.Context, io.Reader) error { return errLeftOut }

// GetObject refuses.
func (*ObjectStore) GetObject(context.Context) (io.ReadCloser, error) { return nil, errLeftOut }

// List refuses.
func (*ObjectStore) List(context.Context) ([]snapshotapi.Snapshot, error) { return nil, errLeftOut }

// Delete refuses.
func (*ObjectStore) Delete(context.Context) error { return errLeftOut }
