#!/bin/sh
# Makes FOLDER: SwiftShader and a Vulkan loader, out of the one npm package that has both.
# Usage: provide-swiftshader.sh FOLDER LOG BUN. Exits 1 where that cannot be done; LOG says why.
set -eu
folder=$1
log=$2
bun=$3
work=$folder.tmp
PACKAGE=@sparticuz/chromium
VERSION=147.0.0
# Of swiftshader.tar.br in that version.
SHA256=f957ea867313f9815b71dc2ed30cce301e01db4f3973fbdb31ffa5391b0ec45a

give_up() {
  echo "swiftshader: $*" >>"$log"
  exit 1
}

[ "$(uname -m)" = x86_64 ] || give_up "there is no build for $(uname -m)"
for tool in tar sha256sum; do
  command -v "$tool" >/dev/null 2>&1 || give_up "$tool is not there"
done

trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
rm -rf "$work"
mkdir -p "$work/whole"
printf 'graft: fetching a software Vulkan driver, SwiftShader, from npm (once, about 65 MB)\n' >&2
# npm where it is, for its registry and proxy settings; else Bun, which is always there by now.
fetch_with_npm() {
  command -v npm >/dev/null 2>&1 || return 1
  (cd "$work" && npm_config_cache=$work/npm npm_config_update_notifier=false npm pack "$PACKAGE@$VERSION" >>"$log" 2>&1) || return 1
  tar -xzf "$work"/*.tgz -C "$work" package/bin/swiftshader.tar.br >>"$log" 2>&1
}
fetch_with_bun() {
  echo '{}' >"$work/package.json"
  (cd "$work" && BUN_INSTALL_CACHE_DIR=$work/cache "$bun" add --ignore-scripts --no-progress "$PACKAGE@$VERSION" >>"$log" 2>&1) || return 1
  rm -rf "$work/package"
  ln -s "node_modules/$PACKAGE" "$work/package"
}
fetch_with_npm || fetch_with_bun || give_up "$PACKAGE could not be fetched"
archive=$work/package/bin/swiftshader.tar.br
echo "$SHA256  $archive" | sha256sum -c >>"$log" 2>&1 || give_up "swiftshader.tar.br is not the file that was published"
"$bun" -e 'await Bun.write(process.argv[2], require("node:zlib").brotliDecompressSync(await Bun.file(process.argv[1]).bytes()))' \
  "$archive" "$work/swiftshader.tar" >>"$log" 2>&1 || give_up "swiftshader.tar.br could not be decompressed"
# No OpenGL: only what a Vulkan program loads.
tar -xf "$work/swiftshader.tar" -C "$work/whole" >>"$log" 2>&1 || give_up "swiftshader.tar could not be unpacked"
rm -f "$work"/whole/libEGL* "$work"/whole/libGLES*
for file in libvk_swiftshader.so libvulkan.so.1 vk_swiftshader_icd.json; do
  [ -f "$work/whole/$file" ] || give_up "$file is not in swiftshader.tar"
done
rm -rf "$folder"
mv "$work/whole" "$folder"
