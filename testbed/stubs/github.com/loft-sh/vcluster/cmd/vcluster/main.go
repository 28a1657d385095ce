// The entry point of vcluster, without the SQLite driver that migrates an old store to etcd and without the sign-in
// plugins of clouds.
package main

import "github.com/loft-sh/vcluster/cmd/vcluster/cmd"

func main() { cmd.RunRoot() }
