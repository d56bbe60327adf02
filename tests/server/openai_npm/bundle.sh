#!/usr/bin/env bash
# Makes openai.mjs again: OpenAI's own client for JavaScript as one file, from the npm registry, with its licence.
#   tests/server/openai_npm/bundle.sh
# Needs npm and a network. The tests need neither: their Node comes with the Python packages of requirements/test.txt.
set -euo pipefail
cd "$(dirname "$0")"
version=7.57.0
esbuild=0.28.2

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
npm install --silent --prefix "$folder" --ignore-scripts "openai@$version" "esbuild@$esbuild"
"$folder/node_modules/.bin/esbuild" "$folder/node_modules/openai/index.mjs" \
    --bundle --minify --format=esm --platform=node --target=node22 --charset=utf8 --log-level=warning \
    --banner:js="// OpenAI's client for JavaScript (npm: openai $version, Apache-2.0, see LICENSE), by bundle.sh" \
    --outfile=openai.mjs
cp "$folder/node_modules/openai/LICENSE" LICENSE
ls -l openai.mjs
