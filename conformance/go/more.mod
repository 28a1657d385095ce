
// What the tests need in addition to the programs of the testbed.
require (
	github.com/onsi/ginkgo/v2 v2.32.0
	k8s.io/sample-apiserver v0.36.3
)
