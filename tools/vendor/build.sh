#!/bin/sh
# Makes tongwen/serve/static/vendor/: one minified file, the licences, the SHA-256 list.
# Needs node 20 or later and npm; the versions and their digests are in package-lock.json.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
vendor=$here/../../tongwen/serve/static/vendor
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cp "$here/package.json" "$here/package-lock.json" "$here/markdown-it.js" "$work/"
cd "$work"
npm ci --ignore-scripts --no-audit --no-fund
version=$(node -p 'require("./package.json").dependencies["markdown-it"]')
rm -f "$vendor"/markdown-it-*.js
npx --no-install esbuild markdown-it.js --bundle --format=esm --minify --target=es2022 \
  --legal-comments=none --outfile="$vendor/markdown-it-$version.js"

# argparse (markdown-it's own command line) and the compiler are not in the bundle.
for package in dompurify entities get-east-asian-width linkify-it markdown-it \
  markdown-it-cjk-friendly mdurl punycode.js uc.micro; do
  file=$(find "node_modules/$package" -maxdepth 1 -iname 'license*' ! -iname '*mpl*' | sort | head -n 1)
  test -n "$file" || { echo "no licence file in $package" >&2; exit 1; }
  printf '===== %s %s =====\n\n' "$package" "$(node -p "require('./node_modules/$package/package.json').version")"
  tr -d '\r' <"$file" | sed 's/[[:space:]]*$//'
  printf '\n'
done >"$vendor/LICENSES.txt"

cd "$vendor"
sha256sum LICENSES.txt "markdown-it-$version.js" >SHA256SUMS
