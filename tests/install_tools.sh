#!/bin/sh
# What the tests need from Debian or Ubuntu: a browser, and the programs of the README's snippets.
set -eu
missing=""
command -v chromium >/dev/null || missing="$missing chromium fonts-noto-cjk"
command -v npm >/dev/null || missing="$missing nodejs npm"
command -v curl >/dev/null || missing="$missing curl"
command -v jq >/dev/null || missing="$missing jq"
[ -z "$missing" ] || {
  apt-get -q update && apt-get -qy install --no-install-recommends $missing
} || {
  echo "The tests need, as root: apt-get install$missing" >&2
  exit 1
}
npm install --silent --no-audit --no-fund --prefix .cache/node @gradio/client@2.7.0
