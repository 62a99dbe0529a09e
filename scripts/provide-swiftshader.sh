#!/bin/sh
# Unpacks SwiftShader and a Vulkan loader from an npm package into CACHE/swiftshader. Usage: provide-swiftshader.sh CACHE BUN PACKAGE
# Exits 1, quietly, where that cannot be done.
set -eu
cache=$1
bun=$2
package=$3
target=$cache/swiftshader
[ ! -d "$target" ] || exit 0
[ "$(uname -m)" = x86_64 ] && command -v npm >/dev/null 2>&1 && command -v tar >/dev/null 2>&1 || exit 1

work=$cache/swiftshader.tmp.$$
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
mkdir -p "$work/out"
printf 'graft: fetching a software Vulkan driver, SwiftShader (once, about 65 MB)\n' >&2
(cd "$work" && npm pack --silent "$package" >/dev/null 2>&1) || exit 1
tar -xzf "$work"/*.tgz -C "$work" package/bin/swiftshader.tar.br || tar -xzf "$work"/*.tgz -C "$work" || exit 1
archive=$(find "$work/package" -name swiftshader.tar.br | head -n 1)
[ -n "$archive" ] || exit 1
"$bun" -e 'const z = require("node:zlib"), fs = require("node:fs"); fs.writeFileSync(process.argv[2], z.brotliDecompressSync(fs.readFileSync(process.argv[1])))' "$archive" "$work/swiftshader.tar"
tar -xf "$work/swiftshader.tar" -C "$work/out"
[ -f "$work/out/libvk_swiftshader.so" ] && [ -f "$work/out/vk_swiftshader_icd.json" ] || exit 1
mv "$work/out" "$target"
