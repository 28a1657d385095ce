"""Jobs as earlier releases stored them, continued by this release. docs/reliability.md says how the files are made."""
