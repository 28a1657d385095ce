"""Files, arguments and environment of the plugin, read into frozen values. Every problem is reported at once."""
