package platform

import (
	"context"
	"errors"

	"github.com/blang/semver/v4"
	storagev1 "github.com/loft-sh/api/v4/pkg/apis/storage/v1"
)

// The versions of the platform are found with a GitHub client, which this build does not contain. A virtual cluster that
// belongs to no platform never asks for them.
var errLeftOut = errors.New("this build of vcluster does not know the versions of the platform")

// MinimumVersionTag and MinimumVersion are the oldest platform that vcluster 0.36.1 works with.
var (
	MinimumVersionTag = "v4.11.0"
	MinimumVersion    = semver.MustParse("4.11.0")
)

// LatestCompatibleVersion refuses.
func LatestCompatibleVersion(context.Context) (string, error) { return "", errLeftOut }

// GetLatestVersion finds none.
func GetLatestVersion(storagev1.VersionsAccessor) storagev1.VersionAccessor { return nil }

// GetLatestMatchedVersion refuses.
func GetLatestMatchedVersion(storagev1.VersionsAccessor, string) (storagev1.VersionAccessor, storagev1.VersionAccessor, error) {
	return nil, nil, errLeftOut
}
