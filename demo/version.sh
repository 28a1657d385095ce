#!/bin/sh
# version.sh NEW: sets the version of the tree wherever it stands: in kns/__init__.py, and as the tag of kns's images in
# the manifests and the docs. docs/releasing.md says when.
set -eu
new=$1
cd "$(dirname "$0")/.."
old=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' kns/__init__.py)
pattern=$(printf %s "$old" | sed 's/\./\\./g')
git ls-files -z kns/__init__.py README.md 'docs/*.md' 'manifests/*.yaml' |
    xargs -0 sed -E -i "s/(^__version__ = \"|kns-(scheduler|init|gotty):)$pattern\b/\1$new/g"
echo "version: $old -> $new"
