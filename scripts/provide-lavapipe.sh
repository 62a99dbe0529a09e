#!/bin/sh
# Makes FOLDER: Mesa's software Vulkan driver and the Vulkan loader out of the distribution's own packages, without root.
# Usage: provide-lavapipe.sh FOLDER LOG. Exits 1 where that cannot be done; LOG says why.
#
#   FOLDER/loader/libvulkan.so.1   the loader alone, which also serves a GPU driver that came without one
#   FOLDER/lib/                    the driver and every library it needs that the C library's package does not have
#   FOLDER/lvp_icd.json            the driver's description, which names it relative to itself
set -eu
folder=$1
log=$2
work=$folder.tmp

give_up() {
  echo "lavapipe: $*" >>"$log"
  exit 1
}

for tool in apt-get dpkg ldd; do
  command -v "$tool" >/dev/null 2>&1 || give_up "$tool is not there"
done
[ -r /etc/os-release ] || give_up "/etc/os-release cannot be read"
# shellcheck disable=SC1091
. /etc/os-release

# Which suites have a Mesa that Dawn takes. Derivatives say which release they are made from.
if [ "${ID:-}" = ubuntu ] || [ -n "${UBUNTU_CODENAME:-}" ]; then
  suite=${UBUNTU_CODENAME:-$VERSION_CODENAME}
  suites="$suite $suite-updates"
  newest=$suite-updates
  components="main universe"
  keys=/usr/share/keyrings/ubuntu-archive-keyring.gpg
  case $(dpkg --print-architecture) in
  amd64 | i386) mirror=http://archive.ubuntu.com/ubuntu ;;
  *) mirror=http://ports.ubuntu.com/ubuntu-ports ;;
  esac
elif [ "${ID:-}" = debian ] || [ -n "${DEBIAN_CODENAME:-}" ]; then
  suite=${DEBIAN_CODENAME:-${VERSION_CODENAME:-}}
  suites=$suite
  newest=$suite
  components=main
  keys=/usr/share/keyrings/debian-archive-keyring.gpg
  mirror=http://deb.debian.org/debian
  # Bookworm's own Mesa 22.3 lacks what Dawn asks for (shaderUniform*ArrayDynamicIndexing); its backports have 25.0.
  [ "$suite" != bookworm ] || {
    suites="bookworm bookworm-backports"
    newest=bookworm-backports
  }
else
  give_up "apt's packages for ${PRETTY_NAME:-this system} are not known here"
fi
[ -r "$keys" ] || give_up "$keys is not there, so packages could not be checked"

# The mirror of this machine, where its sources name one: it may be the only one that can be reached.
own_mirror() {
  sed -n -e 's/^URIs: *\([^ ]*\).*/\1/p' -e 's/^deb \(\[[^]]*\] *\)\{0,1\}\([^ ]*\).*/\2/p' \
    /etc/apt/sources.list /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list 2>/dev/null |
    grep "/${mirror##*/}/*\$" | head -n 1 || true
}
found=$(own_mirror)
mirror=${found:-$mirror}

trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
rm -rf "$work"
mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial" "$work/root" "$work/whole/lib" "$work/whole/loader"
: >"$work/status"
for name in $suites; do
  echo "deb [signed-by=$keys] $mirror $name $components"
done >"$work/sources.list"
# State, cache and sources of our own. The hooks that container images add delete files of the system's cache: not ours to run.
cat >"$work/apt.conf" <<END
Dir::State "$work/state";
Dir::State::status "$work/status";
Dir::Cache "$work/cache";
Dir::Etc::sourcelist "$work/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Debug::NoLocking "true";
APT::Sandbox::User "";
APT::Install-Recommends "false";
Acquire::Languages "none";
Acquire::Retries "2";
Acquire::http::Timeout "20";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
END
private_apt() { apt-get -q -c "$work/apt.conf" -o Dpkg::Use-Pty=0 "$@" >>"$log" 2>&1; }

printf 'graft: fetching a software Vulkan driver, Mesa lavapipe, from %s (once, about 60 MB)\n' "$mirror" >&2
private_apt update || give_up "apt-get update failed"
private_apt install -y --download-only -t "$newest" mesa-vulkan-drivers libvulkan1 || give_up "apt-get could not fetch the packages"
for package in "$work"/cache/archives/*.deb; do
  case ${package##*/} in
  # The process has its own C library.
  libc6_* | libc-bin_*) ;;
  *) dpkg -x "$package" "$work/root" >>"$log" 2>&1 || give_up "${package##*/} could not be unpacked" ;;
  esac
done

# Of some 250 MB only the driver and what it is linked with are kept: the other drivers must not be found in place of a GPU's own.
driver=$(find "$work/root" -name libvulkan_lvp.so | head -n 1)
loader=$(find "$work/root" -name libvulkan.so.1 | head -n 1)
description=$(find "$work/root" -name 'lvp_icd*.json' | head -n 1)
[ -n "$driver" ] && [ -n "$loader" ] && [ -n "$description" ] || give_up "libvulkan_lvp.so, libvulkan.so.1 or lvp_icd.json is not in the packages"
unpacked=
for directory in "$work"/root/usr/lib/*-linux-gnu* "$work"/root/lib/*-linux-gnu*; do
  [ ! -d "$directory" ] || unpacked=$unpacked${unpacked:+:}$directory
done
LD_LIBRARY_PATH=$unpacked ldd "$driver" "$loader" >"$work/needed" 2>>"$log" || give_up "ldd cannot read libvulkan_lvp.so"
if grep 'not found' "$work/needed" >>"$log"; then give_up "a library that libvulkan_lvp.so needs is in none of the packages"; fi
sed -n 's/.* => \(.*\) (0x[0-9a-f]*)$/\1/p' "$work/needed" | sort -u | while IFS= read -r library; do
  case $library in
  "$work"/root/*) cp -L "$library" "$work/whole/lib/" ;;
  esac
done
cp -L "$driver" "$work/whole/lib/libvulkan_lvp.so"
cp -L "$loader" "$work/whole/loader/libvulkan.so.1"
sed 's#"library_path": *"[^"]*"#"library_path": "./lib/libvulkan_lvp.so"#' "$description" >"$work/whole/lvp_icd.json"
rm -rf "$folder"
mv "$work/whole" "$folder"
