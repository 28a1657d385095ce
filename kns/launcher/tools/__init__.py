"""What an administrator uses beside the plugin: `kns posit preflight`, `rbac`, `token`, `run` and `templates`."""
