"""The catalogue: users, machines, apps and vaults that an administrator maintains."""
