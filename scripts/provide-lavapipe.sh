#!/bin/sh
# Unpacks Mesa's software Vulkan driver from the distribution's packages into CACHE/lavapipe, without root. Usage: provide-lavapipe.sh CACHE
# Exits 1, quietly, where that cannot be done.
set -eu
cache=$1
target=$cache/lavapipe
[ ! -d "$target" ] || exit 0
command -v apt-get >/dev/null 2>&1 && command -v dpkg >/dev/null 2>&1 || exit 1
[ -r /etc/os-release ] || exit 1
# shellcheck disable=SC1091
. /etc/os-release

work=$cache/lavapipe.tmp.$$
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial"
: >"$work/status"

case ${ID:-} in
debian)
  mirror=http://deb.debian.org/debian
  keys=/usr/share/keyrings/debian-archive-keyring.gpg
  suites=$VERSION_CODENAME
  release=$VERSION_CODENAME
  # Bookworm's own Mesa 22.3 lacks what Dawn asks for; its backports have 25.0.
  [ "$VERSION_CODENAME" != bookworm ] || { suites="bookworm bookworm-backports" && release=bookworm-backports; }
  parts=main
  ;;
ubuntu)
  mirror=http://archive.ubuntu.com/ubuntu
  [ "$(dpkg --print-architecture)" = amd64 ] || mirror=http://ports.ubuntu.com/ubuntu-ports
  keys=/usr/share/keyrings/ubuntu-archive-keyring.gpg
  suites="$VERSION_CODENAME $VERSION_CODENAME-updates"
  release=$VERSION_CODENAME-updates
  parts="main universe"
  ;;
*) exit 1 ;;
esac
for suite in $suites; do
  echo "deb [signed-by=$keys] $mirror $suite $parts"
done >"$work/sources.list"

printf 'graft: fetching a software Vulkan driver, Mesa lavapipe (once, about 60 MB)\n' >&2
private() {
  apt-get -qq -o "Dir::State=$work/state" -o "Dir::State::status=$work/status" -o "Dir::Cache=$work/cache" \
    -o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=/dev/null -o Dir::Etc::preferencesparts=/dev/null \
    -o Debug::NoLocking=1 -o APT::Sandbox::User= "$@" >"$work/log" 2>&1
}
private update && private install -y --download-only --no-install-recommends -t "$release" mesa-vulkan-drivers libvulkan1 || exit 1

mkdir "$work/root"
for package in "$work"/cache/archives/*.deb; do
  case ${package##*/} in
  # The process brings its own C library.
  libc6_* | libc-bin_* | libgcc-s1_*) ;;
  *) dpkg -x "$package" "$work/root" ;;
  esac
done
# Only the software driver is kept.
for file in "$work"/root/usr/lib/*/libvulkan_*.so; do
  case $file in */libvulkan_lvp.so) ;; *) rm "$file" ;; esac
done
for file in "$work"/root/usr/share/vulkan/icd.d/*; do
  case $file in */lvp_icd*) ;; *) rm "$file" ;; esac
done
rm -rf "$work/root/usr/share/doc" "$work/root/usr/share/vulkan/explicit_layer.d" "$work/root/usr/share/vulkan/implicit_layer.d" "$work"/root/usr/lib/*/libVkLayer_*
# The driver's description names its library by an absolute path of the system; here it is beside it.
library=$(ls "$work"/root/usr/lib/*/libvulkan_lvp.so) || exit 1
relative=${library#"$work/root"}
for description in "$work"/root/usr/share/vulkan/icd.d/lvp_icd*.json; do
  sed -i "s#\"library_path\": \"[^\"]*\"#\"library_path\": \"$target$relative\"#" "$description"
done
mv "$work/root" "$target"
