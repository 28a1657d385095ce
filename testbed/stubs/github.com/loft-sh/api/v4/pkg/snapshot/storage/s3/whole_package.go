// Package s3 replaces vcluster's snapshots on S3, which need the AWS SDK. This build does not contain it.
package s3

import (
	"context"
	"errors"
	"io"

	"github.com/go-logr/logr"
	snapshotapi "github.com/loft-sh/api/v4/pkg/snapshot"
)

var errLeftOut = errors.New("this build of vcluster cannot store snapshots on S3")

// FillCredentials leaves the options as they are.
func FillCredentials(*snapshotapi.S3Options, bool) {}

// ObjectStore stores nothing.
type ObjectStore struct{}

// NewStore returns a store that refuses.
func NewStore(logr.Logger) *ObjectStore { return &ObjectStore{} }

// Init refuses.
func (*ObjectStore) Init(*snapshotapi.S3Options) error { return errLeftOut }

// Target names the store in messages.
func (*ObjectStore) Target() string { return "s3" }

// PutObject refuses.
func (*ObjectStore) PutObject(context.Context, io.Reader) error { return errLeftOut }

// GetObject refuses.
func (*ObjectStore) GetObject(context.Context) (io.ReadCloser, error) { return nil, errLeftOut }

// List refuses.
func (*ObjectStore) List(context.Context) ([]snapshotapi.Snapshot, error) { return nil, errLeftOut }

// Delete refuses.
func (*ObjectStore) Delete(context.Context) error { return errLeftOut }
