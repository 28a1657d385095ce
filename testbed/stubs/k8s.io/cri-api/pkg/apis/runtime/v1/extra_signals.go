package v1

// The names that cri-api 0.37 gives to two values, for containerd 2.4. Kubernetes 1.36 needs cri-api 0.36, and both are
// compiled against one copy.
const (
	Signal_SIGNAL_RUNTIME_DEFAULT = Signal_RUNTIME_DEFAULT
	Signal_SIGNAL_SIGTERM         = Signal_SIGTERM
)
