"""The configuration of the Posit plugin: files, arguments, profiles. Files are real, in a temporary folder."""
