package endpoint

import (
	_ "github.com/k3s-io/kine/pkg/drivers/sqlite" // the only database driver of this build
)
