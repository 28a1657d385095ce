"""What earlier releases left behind, stored, and carried on by this one. docs/reliability.md says how it is made."""
