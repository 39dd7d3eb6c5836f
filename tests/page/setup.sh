#!/usr/bin/env bash
# Installs what the test of the page needs into a folder: Debian's Chromium, and from npm Playwright and axe.
set -euo pipefail
folder=${1:?usage: setup.sh FOLDER}
here=$(cd "$(dirname "$0")" && pwd)

if ! command -v chromium > /dev/null; then
  echo "installing chromium from Debian"
  as=(); [[ $(id -u) == 0 ]] || as=(sudo)
  "${as[@]}" apt-get update -qq
  "${as[@]}" apt-get install -y -qq --no-install-recommends chromium > /dev/null
fi
mkdir -p "$folder"
cp "$here/package.json" "$here/package-lock.json" "$folder/"
if [[ ! -d $folder/node_modules || $folder/package-lock.json -nt $folder/node_modules ]]; then
  echo "installing playwright-core and axe-core from npm"
  npm ci --prefix "$folder" --no-audit --no-fund --silent
  touch "$folder/node_modules"
fi
