#!/bin/sh
# Makes tongwen/serve/static/vendor/: three minified files, the licences, the SHA-256 list.
# Needs node 20 or later and npm; the versions and their digests are in package-lock.json.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
vendor=$here/../../tongwen/serve/static/vendor
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cp "$here/package.json" "$here/package-lock.json" "$here"/*.js "$work/"
cd "$work"
npm ci --ignore-scripts --no-audit --no-fund
rm -f "$vendor"/*.js
for bundle in markdown-it temml highlight; do
  package=$bundle
  test "$bundle" != highlight || package=highlight.js
  version=$(node -p "require('./package.json').dependencies['$package']")
  npx --no-install esbuild "$bundle.js" --bundle --format=esm --minify --target=es2022 \
    --legal-comments=none --outfile="$vendor/$bundle-$version.js"
done

# argparse (markdown-it's own command line) and the compiler are not in the bundle.
for package in dompurify entities get-east-asian-width highlight.js linkify-it markdown-it \
  markdown-it-cjk-friendly mdurl punycode.js temml uc.micro; do
  file=$(find "node_modules/$package" -maxdepth 1 -iname 'license*' ! -iname '*mpl*' | sort | head -n 1)
  test -n "$file" || { echo "no licence file in $package" >&2; exit 1; }
  printf '===== %s %s =====\n\n' "$package" "$(node -p "require('./node_modules/$package/package.json').version")"
  tr -d '\r' <"$file" | sed 's/[[:space:]]*$//'
  printf '\n'
done >"$vendor/LICENSES.txt"

cd "$vendor"
sha256sum LICENSES.txt *.js >SHA256SUMS
