// Package upgrade replaces the self-update of vcluster's command line, which needs a GitHub client.
package upgrade

import "strings"

// DevelopmentVersion is the version of a build that has no release number.
const DevelopmentVersion = "0.0.1"

var version string

// GetVersion returns the version that SetVersion stored.
func GetVersion() string { return version }

// SetVersion stores the version of this program.
func SetVersion(text string) { version = strings.TrimPrefix(text, "v") }
