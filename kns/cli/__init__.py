"""Commands for people: what can be checked without a cluster. The scheduler itself is not here."""
